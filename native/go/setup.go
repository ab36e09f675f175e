// setup.go: the files of WORKDIR: network.txt and arrays of raw numbers, and the model that init makes of them.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ---- network.txt ----

type description struct {
	sizes       []int
	activations []string // f_1 .. f_L: the last is the output activation
	loss, dtype string
	l2          float64
	rows, order int
}

// The lines of network.txt: from each key to the words after it.
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
		return fmt.Errorf("sizes: %d numbers: must be at least 2", len(d.sizes))
	}
	if d.activations, err = from.words("activations"); err != nil {
		return err
	}
	if hidden := len(d.sizes) - 2; len(d.activations) != hidden {
		return fmt.Errorf("activations: %d names for %d hidden layers", len(d.activations), hidden)
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
	_, err = from.count("threads") // checked, then ignored: the network uses one thread
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
		err = fmt.Errorf("%s: %d words: must be 1", key, len(words))
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
			return nil, fmt.Errorf("%s = %s: must be an integer, at least 1", key, word)
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

// Return the number that a word stands for. ParseFloat alone takes 0x1p4, nan and inf too.
func decimal(word string) (float64, error) {
	if strings.Trim(word, "0123456789+-.eE") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(word, 64)
}

func (from lines) penalty(key string) (float64, error) {
	word, err := from.word(key)
	if err != nil {
		return 0, err
	}
	value, err := decimal(word)
	if err != nil || !(value >= 0 && value <= math.MaxFloat64) {
		return 0, fmt.Errorf("%s = %s: must be finite, at least 0", key, word)
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

// Read a file that holds exactly rows * columns numbers.
func read[Number Float | int64](folder, name string, rows, columns int) ([]Number, error) {
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return nil, inFile(name, err)
	}
	size := binary.Size(Number(0))
	if rows > math.MaxInt/size/columns || len(data) != rows*columns*size {
		return nil, fmt.Errorf("%s has %d bytes: (%d, %d) numbers of %d bytes need %.0f",
			name, len(data), rows, columns, size, float64(rows)*float64(columns)*float64(size))
	}
	numbers := scattered[Number](rows * columns)
	return numbers, binary.Read(bytes.NewReader(data), binary.LittleEndian, numbers)
}

// Read the probes of a timed call: each names one of `entries` numbers.
func readProbes(folder string, length, entries int) ([]int64, error) {
	probes, err := read[int64](folder, "probes.bin", length, 1)
	if err != nil {
		return nil, err
	}
	for i, entry := range probes {
		if entry < 0 || entry >= int64(entries) {
			return nil, fmt.Errorf("probes[%d] = %d: must lie in [0, %d)", i, entry, entries)
		}
	}
	return probes, nil
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

// ---- The model of the commands ----

// An mlp[float32] or an mlp[float64].
type model interface {
	lengths() (rows, order int)
	reserve(B int)
	outputs(first, count int)
	lossAndGradient(first, count int) float64
	train(first, count, batchSize int, rate float64)
	timedPass(operation string, first, count int, probe int64) float64
	entries(operation string, count int) int
	reset()
	results(rows int) (Y, gradient, theta any) // slices of the network's dtype; Y: (rows, m_L)
}

func (net *mlp[Real]) lengths() (rows, order int) { return net.rows, len(net.order) }

// The number of outputs of `count` rows, or of entries of the gradient.
func (net *mlp[Real]) entries(operation string, count int) int {
	if operation == "forward" {
		return count * net.last().outputs
	}
	return len(net.gradient)
}

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

// Return the number of parameters; an error where their bytes cannot be counted in an int.
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

// Look up f_1 .. f_L and the loss in the tables.
func functions[Real Float](d description) (f []activation[Real], lossFunction loss[Real], err error) {
	found := false
	for _, row := range losses[Real]() {
		if row.name == d.loss {
			lossFunction, found = row, true
		}
	}
	if !found {
		return nil, lossFunction, unsupported("no loss '" + d.loss + "'")
	}
	for l, name := range d.activations {
		fuses := lossFunction.fuses != "" && l == len(d.activations)-1
		if fuses && name != lossFunction.fuses {
			return nil, lossFunction, fmt.Errorf("network.txt: output_activation = %s: %s fuses %s",
				name, d.loss, lossFunction.fuses)
		}
		row := findActivation[Real](name)
		if row == nil || (row.derivative == nil && !fuses) {
			return nil, lossFunction, unsupported(fmt.Sprintf("no activation '%s' for layer %d", name, l+1))
		}
		f = append(f, *row)
	}
	return f, lossFunction, nil
}

// Return the row of "name" or "name(parameter)", with its parameter; nil if there is none such.
func findActivation[Real Float](text string) *activation[Real] {
	name, written, given := strings.Cut(text, "(")
	for _, row := range activations[Real]() {
		if row.name != name {
			continue
		}
		if given {
			p, err := strconv.ParseFloat(strings.TrimSuffix(written, ")"), 64)
			if err != nil || written[len(written)-1] != ')' || math.IsNaN(float64(row.parameter)) || math.IsNaN(p-p) {
				return nil
			}
			row.parameter = Real(p)
		}
		return &row
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
