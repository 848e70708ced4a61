package main

// The changes that no test can tell from the original, each with the reason.

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

// An equivalence names a change by where it is and what it does, not by its line's number.
type equivalence struct{ file, function, code, old, new string }

func equivalenceOf(m mutant) equivalence {
	flat := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	return equivalence{m.file, m.function, flat(m.code), flat(m.old), flat(m.new)}
}

// readEquivalents reads a file whose lines are: file, function, line of code, old, new, reason, with " | " between them. Lines
// that begin with # are comments.
func readEquivalents(path string) (map[equivalence]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	known := make(map[equivalence]string)
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		if line := strings.TrimSpace(lines.Text()); line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Split(lines.Text(), " | ")
		if len(fields) != 6 || strings.TrimSpace(fields[5]) == "" {
			return nil, fmt.Errorf("%s:%d: want six fields with \" | \" between them, the last a reason; found %d", path, n, len(fields))
		}
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		known[equivalence{fields[0], fields[1], fields[2], fields[3], fields[4]}] = fields[5]
	}
	return known, lines.Err()
}

// listed are those of some mutants that a file names, with lines as a run prints them.
func listed(all []mutant, path string) ([]mutant, error) {
	text, err := os.ReadFile(path)
	named := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		named[strings.TrimSpace(line)] = true
	}
	return slices.DeleteFunc(all, func(m mutant) bool { return !named[strings.TrimSpace(equivalenceOf(m).line())] }), err
}

// line is how a mutant is written in the file, but for the reason.
func (e equivalence) line() string {
	return strings.Join([]string{e.file, e.function, e.code, e.old, e.new}, " | ")
}
