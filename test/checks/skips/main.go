// Skips stands behind `go test -json`. It writes what go test writes without that, and keeps a list of the tests that did
// not run with the reason of each: one that needs root, or a program that this machine does not have. Without it nobody
// would see them, because go test says "ok" of a package whose tests are all skipped.
//
//	go test -json ./... | go run ./test/checks/skips -out .bin/logs/unit.skipped
//
// The exit code is go test's own: the caller sets pipefail.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// An event is a line of go test's; see go doc test2json.
type event struct {
	Action, Package, Test, Output string
}

func main() {
	out := flag.String("out", "", "the `file` that the list is written to")
	flag.Parse()
	skipped, err := read(os.Stdin, os.Stdout)
	if err == nil {
		err = os.WriteFile(*out, []byte(strings.Join(skipped, "")), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(1)
	}
}

// reason is what a test says when it skips itself: "    x_test.go:18: why".
var reason = regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)`)

// read copies what people read of the events, and gives a line for each test that was skipped.
func read(in io.Reader, out io.Writer) (skipped []string, err error) {
	said := make(map[string][]string) // what a test wrote, by its package and name
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			skipped = append(skipped, take(line, out, said)...)
		}
		if err == io.EOF {
			return skipped, nil
		}
		if err != nil {
			return skipped, err
		}
	}
}

func take(line []byte, out io.Writer, said map[string][]string) (skipped []string) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		out.Write(line) // go's own, of a package that does not build
		return nil
	}
	name := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		io.WriteString(out, e.Output)
	case "output":
		switch {
		case e.Test != "":
			said[name] = append(said[name], e.Output)
		case e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "=== "):
			io.WriteString(out, e.Output)
		}
	case "fail":
		for _, text := range said[name] {
			if !strings.HasPrefix(text, "=== ") {
				io.WriteString(out, text)
			}
		}
		delete(said, name)
	case "skip":
		if e.Test != "" {
			skipped = append(skipped, fmt.Sprintf("%s: %s\n", name, why(said[name])))
		}
		delete(said, name)
	case "pass":
		delete(said, name)
	}
	return skipped
}

func why(said []string) string {
	for _, text := range said {
		if m := reason.FindStringSubmatch(strings.TrimRight(text, "\n")); m != nil {
			return m[1]
		}
	}
	return "it does not say why"
}
