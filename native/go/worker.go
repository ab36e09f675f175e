// worker.go: the worker protocol: a command a line on stdin, a reply a line on stdout, arrays in the files of a folder.
// It reads, checks, answers and keeps the clock; the network is mlp.go's.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// ---- Replies and errors ----

type field struct{ key, value string }

var quoted = strings.NewReplacer("%", "%25", "\t", "%09", "\n", "%0A", "\r", "%0D")

func reply(status string, fields []field) string {
	for _, f := range fields {
		status += "\t" + f.key + "=" + quoted.Replace(strings.ToValidUTF8(f.value, "?"))
	}
	return status + "\n"
}

// unsupported is the error of a function or dtype that mlp.go does not have; every other error is of the kind invalid.
type unsupported string

func (e unsupported) Error() string { return string(e) }

func answerError(err error) string {
	kind := "invalid"
	if errors.As(err, new(unsupported)) {
		kind = "unsupported"
	}
	return reply("error", []field{{"kind", kind}, {"message", err.Error()}})
}

// ---- network.txt ----

type description struct {
	sizes       []int
	activations []string // f_1 .. f_L, so the output activation too
	loss, dtype string
	l2          float64
	rows, order int
}

// lines of network.txt: the words after a key, by key.
type lines map[string][]string

func readDescription(folder string) (d description, err error) {
	text, err := os.ReadFile(filepath.Join(folder, "network.txt"))
	if err != nil {
		return d, inFile("network.txt", err)
	}
	from := lines{}
	for _, line := range strings.Split(string(text), "\n") {
		if words := strings.Fields(line); len(words) > 0 {
			from[words[0]] = words[1:]
		}
	}
	if err = d.take(from); err != nil && !errors.As(err, new(unsupported)) {
		err = fmt.Errorf("network.txt: %w", err)
	}
	return d, err
}

func (d *description) take(from lines) (err error) {
	if d.sizes, err = from.counts("sizes"); err != nil {
		return err
	}
	if len(d.sizes) < 2 {
		return fmt.Errorf("sizes: %d of them, must be at least 2", len(d.sizes))
	}
	if d.activations, err = from.words("activations"); err != nil {
		return err
	}
	if hidden := len(d.sizes) - 2; len(d.activations) != hidden {
		return fmt.Errorf("activations: %d of them for %d hidden layers", len(d.activations), hidden)
	}
	output, err := from.word("output_activation")
	if err != nil {
		return err
	}
	d.activations = append(d.activations[:len(d.activations):len(d.activations)], output)
	if d.loss, err = from.word("loss"); err != nil {
		return err
	}
	if d.dtype, err = from.word("dtype"); err != nil {
		return err
	}
	if d.l2, err = from.penalty("l2"); err != nil {
		return err
	}
	if d.rows, err = from.count("rows"); err != nil {
		return err
	}
	if d.order, err = from.count("order"); err != nil {
		return err
	}
	_, err = from.count("threads") // whatever it says, one is used
	return err
}

func (from lines) words(key string) ([]string, error) {
	words, found := from[key]
	if !found {
		return nil, fmt.Errorf("no line '%s'", key)
	}
	return words, nil
}

func (from lines) word(key string) (string, error) {
	words, err := from.words(key)
	if err == nil && len(words) != 1 {
		err = fmt.Errorf("%s: %d words, must be 1", key, len(words))
	}
	if err != nil {
		return "", err
	}
	return words[0], nil
}

func (from lines) counts(key string) ([]int, error) {
	words, err := from.words(key)
	numbers := make([]int, len(words))
	for i, word := range words {
		number, bad := strconv.Atoi(word)
		if bad != nil || number < 1 {
			return nil, fmt.Errorf("%s = %s: must be an integer from 1 on", key, word)
		}
		numbers[i] = number
	}
	return numbers, err
}

func (from lines) count(key string) (int, error) {
	if _, err := from.word(key); err != nil {
		return 0, err
	}
	counts, err := from.counts(key)
	if err != nil {
		return 0, err
	}
	return counts[0], nil
}

func (from lines) penalty(key string) (float64, error) {
	word, err := from.word(key)
	if err != nil {
		return 0, err
	}
	value, err := strconv.ParseFloat(word, 64)
	if err != nil || !(value >= 0 && value <= math.MaxFloat64) {
		return 0, fmt.Errorf("%s = %s: must be a finite number from 0 on", key, word)
	}
	return value, nil
}

// ---- Arrays in files: raw, little-endian ----

func inFile(name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// The (rows, columns) numbers that are in a file, and nothing else.
func read[Number Float | int64](folder, name string, rows, columns int) ([]Number, error) {
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return nil, inFile(name, err)
	}
	size := binary.Size(Number(0))
	if rows > math.MaxInt/size/columns || len(data) != rows*columns*size {
		return nil, fmt.Errorf("%s has %d bytes: (%d, %d) numbers of %d bytes are wanted, %.0f in all",
			name, len(data), rows, columns, size, float64(rows)*float64(columns)*float64(size))
	}
	numbers := make([]Number, rows*columns)
	return numbers, binary.Read(bytes.NewReader(data), binary.LittleEndian, numbers)
}

func write(folder, name string, numbers any) error {
	var data bytes.Buffer
	if err := binary.Write(&data, binary.LittleEndian, numbers); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(folder, name), data.Bytes(), 0o666); err != nil {
		return inFile(name, err)
	}
	return nil
}

// ---- The model that commands work on ----

// model is an mlp[float32] or an mlp[float64].
type model interface {
	lengths() (rows, order int)
	reserve(B int)
	outputs(first, count int)
	lossAndGradient(first, count int) float64
	train(first, count, batchSize int, rate float64)
	timedPass(operation string, first, count int) float64
	reset()
	results(rows int) (Y, gradient, theta any) // as slices
}

func (net *mlp[Real]) lengths() (rows, order int) { return net.rows, len(net.order) }

func (net *mlp[Real]) results(rows int) (Y, gradient, theta any) {
	return net.last().A[:rows*net.last().outputs], net.gradient, net.theta
}

func readModel(folder string) (model, error) {
	d, err := readDescription(folder)
	if err != nil {
		return nil, err
	}
	switch d.dtype {
	case "float32":
		return makeModel[float32](d, folder)
	case "float64":
		return makeModel[float64](d, folder)
	}
	return nil, unsupported("no dtype '" + d.dtype + "'")
}

func makeModel[Real Float](d description, folder string) (model, error) {
	f, loss, err := functions[Real](d)
	if err != nil {
		return nil, err
	}
	n, err := d.parameters()
	if err != nil {
		return nil, err
	}
	theta, err := read[Real](folder, "theta.bin", n, 1)
	if err != nil {
		return nil, err
	}
	net := newMLP(d.sizes, f, loss, d.l2, theta)
	return net, net.load(d, folder)
}

// How many parameters there are, where that is a number of bytes that exists.
func (d description) parameters() (n int, err error) {
	const most = math.MaxInt / 64
	for l, outputs := range d.sizes[1:] {
		inputs := d.sizes[l]
		if inputs >= most || outputs > (most-n)/(inputs+1) {
			return 0, fmt.Errorf("network.txt: sizes: layer %d is too large", l+1)
		}
		n += (inputs + 1) * outputs
	}
	return n, nil
}

func functions[Real Float](d description) (f []activation[Real], of loss[Real], err error) {
	found := false
	for _, row := range losses[Real]() {
		if row.name == d.loss {
			of, found = row, true
		}
	}
	if !found {
		return nil, of, unsupported("no loss '" + d.loss + "'")
	}
	for l, name := range d.activations {
		fuses := of.fuses != "" && l == len(d.activations)-1
		if fuses && name != of.fuses {
			return nil, of, fmt.Errorf("network.txt: output_activation = %s: %s fuses %s", name, of.name, of.fuses)
		}
		row := findActivation[Real](name)
		if row == nil || (row.slope == nil && !fuses) {
			return nil, of, unsupported(fmt.Sprintf("no activation '%s' for layer %d", name, l+1))
		}
		f = append(f, *row)
	}
	return f, of, nil
}

func findActivation[Real Float](name string) *activation[Real] {
	for _, row := range activations[Real]() {
		if row.name == name {
			return &row
		}
	}
	return nil
}

func (net *mlp[Real]) load(d description, folder string) (err error) {
	net.rows = d.rows
	if net.x, err = read[Real](folder, "x.bin", d.rows, d.sizes[0]); err != nil {
		return err
	}
	if net.y, err = read[Real](folder, "y.bin", d.rows, d.sizes[len(d.sizes)-1]); err != nil {
		return err
	}
	if net.order, err = read[int64](folder, "order.bin", d.order, 1); err != nil {
		return err
	}
	for i, row := range net.order {
		if row < 0 || row >= int64(d.rows) {
			return fmt.Errorf("order.bin: entry %d is %d: row numbers lie in [0, %d)", i, row, d.rows)
		}
	}
	return nil
}

// ---- Commands ----

type worker struct {
	folder string
	model  model // nil until init
}

// What a command's words say.
type arguments struct {
	operation                    string
	first, count, batch, repeats int
	rate                         float64
}

type command struct {
	usage string
	run   func(w *worker, a arguments) ([]field, error)
}

var commands = map[string]command{
	"hello":    {"", (*worker).hello},
	"init":     {"", (*worker).init},
	"forward":  {"FIRST COUNT", (*worker).forward},
	"gradient": {"FIRST COUNT", (*worker).gradient},
	"train":    {"FIRST COUNT BATCH RATE", (*worker).train},
	"time":     {"forward|gradient FIRST COUNT REPEATS", (*worker).time},
	"theta":    {"", (*worker).theta},
	"reset":    {"", (*worker).reset},
	"quit":     {"", func(*worker, arguments) ([]field, error) { return nil, nil }},
}

func (w *worker) answer(words []string) ([]field, error) {
	command, found := commands[words[0]]
	if !found {
		return nil, fmt.Errorf("unknown command '%s'", words[0])
	}
	names := strings.Fields(command.usage)
	if len(names) != len(words)-1 {
		usage := strings.TrimSpace(words[0] + " " + command.usage)
		return nil, fmt.Errorf("'%s': the command is '%s'", strings.Join(words, " "), usage)
	}
	var a arguments
	for i, name := range names {
		if err := a.take(name, words[i+1]); err != nil {
			return nil, err
		}
	}
	needsModel := words[0] != "hello" && words[0] != "init" && words[0] != "quit"
	if needsModel && w.model == nil {
		return nil, errors.New("no model yet: init comes first")
	}
	return command.run(w, a)
}

func (a *arguments) take(name, word string) (err error) {
	integer := func(into *int, least int) {
		if *into, err = strconv.Atoi(word); err != nil || *into < least {
			err = fmt.Errorf("%s = %s: must be an integer from %d on", name, word, least)
		}
	}
	switch name {
	case "FIRST":
		integer(&a.first, 0)
	case "COUNT":
		integer(&a.count, 1)
	case "BATCH":
		integer(&a.batch, 1)
	case "REPEATS":
		integer(&a.repeats, 1)
	case "RATE":
		if a.rate, err = strconv.ParseFloat(word, 64); err != nil || !(a.rate > 0 && a.rate <= math.MaxFloat64) {
			err = fmt.Errorf("%s = %s: must be a finite number above 0", name, word)
		}
	default:
		if a.operation = word; word != "forward" && word != "gradient" {
			err = fmt.Errorf("'%s': must be %s", word, name)
		}
	}
	return err
}

func (a arguments) within(length int, what string) error {
	if a.count > length || a.first > length-a.count {
		return fmt.Errorf("FIRST = %d, COUNT = %d: must lie within the %d %s", a.first, a.count, length, what)
	}
	return nil
}

// Room for the rows that a forward pass, a gradient or a repeat of `time` works on.
func (w *worker) prepare(a arguments) error {
	rows, _ := w.model.lengths()
	if err := a.within(rows, "rows"); err != nil {
		return err
	}
	w.model.reserve(a.count)
	return nil
}

func (w *worker) hello(arguments) ([]field, error) {
	var names [2][]string
	for _, row := range activations[float64]() {
		if row.slope != nil {
			names[0] = append(names[0], row.name)
		}
	}
	for _, row := range losses[float64]() {
		names[1] = append(names[1], row.name)
	}
	return []field{
		{"protocol", "1"}, {"name", "go"}, {"language", "Go"},
		{"compiler", runtime.Compiler + " " + runtime.Version()}, {"flags", flags()},
		{"activations", strings.Join(names[0], ",")}, {"losses", strings.Join(names[1], ",")},
		{"arithmetic", "native"}, {"deterministic", "yes"}, {"clock", "time.Since (monotonic)"},
	}, nil
}

// What this program was built with, as the linker noted it down.
func flags() string {
	words := []string{"go build"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			switch setting.Key {
			case "GOAMD64", "GOARM64", "-gcflags":
				words = append(words, setting.Key+"="+setting.Value)
			}
		}
	}
	return strings.Join(words, " ")
}

func (w *worker) init(arguments) ([]field, error) {
	model, err := readModel(w.folder)
	if err != nil {
		return nil, err
	}
	w.model = model
	return []field{{"threads", "1"}}, nil
}

func (w *worker) forward(a arguments) ([]field, error) {
	if err := w.prepare(a); err != nil {
		return nil, err
	}
	w.model.outputs(a.first, a.count)
	Y, _, _ := w.model.results(a.count)
	return nil, write(w.folder, "outputs.bin", Y)
}

func (w *worker) gradient(a arguments) ([]field, error) {
	if err := w.prepare(a); err != nil {
		return nil, err
	}
	loss := w.model.lossAndGradient(a.first, a.count)
	_, gradient, _ := w.model.results(a.count)
	return []field{{"loss", number(loss)}}, write(w.folder, "gradient.bin", gradient)
}

func (w *worker) train(a arguments) ([]field, error) {
	_, order := w.model.lengths()
	if err := a.within(order, "entries of order"); err != nil {
		return nil, err
	}
	if a.batch > a.count {
		a.batch = a.count
	}
	w.model.reserve(a.batch)
	start := time.Now()
	w.model.train(a.first, a.count, a.batch, a.rate)
	return []field{{"seconds", number(time.Since(start).Seconds())}}, nil
}

func (w *worker) time(a arguments) ([]field, error) {
	if err := w.prepare(a); err != nil {
		return nil, err
	}
	rows, _ := w.model.lengths()
	checksum, s, places := 0.0, a.first, rows-a.count+1
	start := time.Now()
	for r := 0; r < a.repeats; r++ {
		checksum += w.model.timedPass(a.operation, s, a.count)
		s = (s + a.count) % places
	}
	seconds := time.Since(start).Seconds()
	return []field{{"seconds", number(seconds)}, {"checksum", number(checksum)}}, nil
}

func (w *worker) theta(arguments) ([]field, error) {
	_, _, theta := w.model.results(0)
	return nil, write(w.folder, "theta_out.bin", theta)
}

func (w *worker) reset(arguments) ([]field, error) {
	w.model.reset()
	return nil, nil
}

func number(value float64) string { return strconv.FormatFloat(value, 'g', 17, 64) }

// Until quit, or the end of input.
func (w *worker) serve(commands *bufio.Reader) {
	for {
		line, end := commands.ReadString('\n')
		if words := strings.Fields(line); len(words) > 0 {
			fields, err := w.answer(words)
			if err != nil {
				os.Stdout.WriteString(answerError(err))
			} else {
				os.Stdout.WriteString(reply("ok", fields))
			}
			if err == nil && words[0] == "quit" {
				return
			}
		}
		if end != nil {
			return
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: fnn WORKDIR, then commands on stdin")
		os.Exit(2)
	}
	(&worker{folder: os.Args[1]}).serve(bufio.NewReader(os.Stdin))
}
