// worker.go: the worker protocol: one command per line on stdin, one reply per line on stdout, arrays in files of
// WORKDIR. This file parses and answers commands and reads the clock; setup.go reads the files, mlp.go has the network.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
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

// The error for a function or dtype that mlp.go lacks. The kind of every other error is invalid.
type unsupported string

func (e unsupported) Error() string { return string(e) }

func answerError(err error) string {
	kind := "invalid"
	if errors.As(err, new(unsupported)) {
		kind = "unsupported"
	}
	return reply("error", []field{{"kind", kind}, {"message", err.Error()}})
}

// ---- Commands ----

var name = "go" // the linker sets that of another row of backend.toml

type worker struct {
	folder string
	model  model // nil until init
}

// The arguments of a command; those that it does not take are 0.
type arguments struct {
	operation                    string
	first, count, batch, repeats int
	probes                       int
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
	"time":     {"forward|gradient FIRST COUNT REPEATS PROBES", (*worker).time},
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
			err = fmt.Errorf("%s = %s: must be an integer, at least %d", name, word, least)
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
	case "PROBES":
		integer(&a.probes, 1)
	case "RATE":
		if a.rate, err = decimal(word); err != nil || !(a.rate > 0 && a.rate <= math.MaxFloat64) {
			err = fmt.Errorf("%s = %s: must be finite and above 0", name, word)
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

// Check FIRST and COUNT against the rows of the data, and make room for COUNT rows.
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
		if row.derivative != nil {
			names[0] = append(names[0], row.name)
		}
	}
	for _, row := range losses[float64]() {
		names[1] = append(names[1], row.name)
	}
	return []field{
		{"protocol", "1"}, {"name", name}, {"language", "Go"},
		{"compiler", runtime.Compiler + " " + runtime.Version()}, {"flags", flags()},
		{"activations", strings.Join(names[0], ",")}, {"losses", strings.Join(names[1], ",")},
		{"arithmetic", "native"}, {"deterministic", "yes"}, {"clock", "time.Since (monotonic)"},
	}, nil
}

// Return the build settings that the linker recorded in this program.
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

// The two clocks of timed work: the wall clock and the CPU time of the process, all threads.
type clocks struct {
	wall time.Time
	cpu  time.Duration
}

func readClocks() clocks {
	cpu := cpuTime()
	return clocks{time.Now(), cpu}
}

// The seconds since the reading, as fields of a reply.
func (c clocks) elapsed() []field {
	seconds := time.Since(c.wall).Seconds()
	return []field{{"seconds", number(seconds)}, {"cpu_seconds", number((cpuTime() - c.cpu).Seconds())}}
}

func cpuTime() time.Duration {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
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
	start := readClocks()
	w.model.train(a.first, a.count, a.batch, a.rate)
	return start.elapsed(), nil
}

func (w *worker) time(a arguments) ([]field, error) {
	if err := w.prepare(a); err != nil {
		return nil, err
	}
	probes, err := readProbes(w.folder, a.probes, w.model.entries(a.operation, a.count))
	if err != nil {
		return nil, err
	}
	rows, _ := w.model.lengths()
	checksum, s, p, places := 0.0, a.first, 0, rows-a.count+1
	start := readClocks()
	for r := 0; r < a.repeats; r++ {
		checksum += w.model.timedPass(a.operation, s, a.count, probes[p])
		s = (s + a.count) % places
		if p++; p == len(probes) {
			p = 0
		}
	}
	return append(start.elapsed(), field{"checksum", number(checksum)}), nil
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

// Answer commands until quit or the end of input.
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
