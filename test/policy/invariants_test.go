package policy

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// invariantsHeading stands in docs/DESIGN.md over the table `| n | **Name**: what holds |`.
const invariantsHeading = "## What must hold"

// TestInvariants: docs/invariants.txt has the invariants of docs/DESIGN.md. Under each it names tests that exist, or
// says `open: why` where there is none yet (it may do both). Each test that calls itself TestInvariant… is named there.
func TestInvariants(t *testing.T) {
	m := load(t)
	page, err := os.ReadFile(filepath.Join(m.Root, "docs", "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(m.Root, "docs", "invariants.txt"))
	if err != nil {
		t.Fatal(err)
	}
	complain(t, invariantComplaints(string(page), string(list), testsOf(m)))
}

func TestInvariantsSeesLies(t *testing.T) {
	page := invariantsHeading + "\n\n| | invariant |\n|---|---|\n" +
		"| 1 | **Single writer**: one. |\n| 2 | **Atomic**: all or none. |\n| 3 | **Gate**: durable first. |\n" +
		"| 5 | **Resume**: no gap. |\n| 6 | **Sleep** |\n| 7 | **Unlisted** |\n\n## Next\n| 8 | **Elsewhere** |\n"
	list := "# a comment\n1 Single writer\n  actor: TestInvariantSingleWriter\n\n2 Atomic\n  storage: TestInvariantGone\n3 Gate\n" +
		"5 Resume\n  open: with cursors\n6 Sleep\n  open:\n9 Undrawn\n  actor: TestInvariantSingleWriter\n"
	tests := map[string]bool{"actor: TestInvariantSingleWriter": true, "room: TestInvariantUnnamed": true}
	complaints := invariantComplaints(page, list, tests)
	for _, want := range [][]string{
		{"2 Atomic", "TestInvariantGone", "no such test"}, {"2 Atomic", "names no test"}, {"3 Gate", "names no test"}, {"5 Resume", "where 4"}, {"6 Sleep", "where 5"}, {"7 Unlisted", "where 6"}, {"6 Sleep", "open:", "no such test"},
		{"6 Sleep", "names no test"}, {"7 Unlisted", "names no test"}, {"9 Undrawn", "not in docs/DESIGN.md"}, {"room: TestInvariantUnnamed", "does not name"},
	} {
		expectComplaint(t, complaints, want...)
	}
	if len(complaints) != 11 {
		t.Errorf("%d complaints instead of 11: %q", len(complaints), complaints)
	}
	expectComplaint(t, invariantComplaints("# no table\n", list, tests), "no table")
}

var (
	invariantRow = regexp.MustCompile(`(?m)^\| (\d+) \| \*\*([^*]+)\*\*.*\|$`)
	namedTest    = regexp.MustCompile(`^[a-z/0-9]+: (?:Test|Fuzz|Benchmark|Example)[A-Za-z0-9_]+$`)
	saidOpen     = regexp.MustCompile(`^open: \S`)
)

func invariantComplaints(page, list string, tests map[string]bool) (complaints []string) {
	complain := func(format string, args ...any) { complaints = append(complaints, fmt.Sprintf(format, args...)) }
	_, section, _ := strings.Cut(page, invariantsHeading)
	section, _, _ = strings.Cut(section, "\n## ")
	rows := invariantRow.FindAllStringSubmatch(section, -1)
	if len(rows) == 0 {
		return []string{"docs/DESIGN.md has no table under " + invariantsHeading}
	}
	listed := listedTests(list)
	named := map[string]bool{}
	for i, row := range rows {
		invariant := row[1] + " " + row[2]
		if row[1] != strconv.Itoa(i+1) {
			complain("docs/DESIGN.md: %s stands where %d should", invariant, i+1)
		}
		shown := false
		for _, test := range listed[invariant] {
			named[test] = true
			if shown = shown || tests[test] || saidOpen.MatchString(test); !tests[test] && !saidOpen.MatchString(test) {
				complain("docs/invariants.txt: %s rests on %s: no such test", invariant, test)
			}
		}
		if !shown {
			complain("docs/invariants.txt: %s names no test and does not say `open: why`", invariant)
		}
		delete(listed, invariant)
	}
	for invariant := range listed {
		complain("docs/invariants.txt: %s is not in docs/DESIGN.md", invariant)
	}
	for name := range tests {
		if strings.Contains(name, ": TestInvariant") && !named[name] && !strings.HasPrefix(name, "test/policy: ") {
			complain("docs/invariants.txt does not name the test %s", name)
		}
	}
	sort.Strings(complaints)
	return complaints
}

// listedTests are the lines of docs/invariants.txt under each invariant.
func listedTests(list string) map[string][]string {
	listed := map[string][]string{}
	invariant := ""
	for _, line := range strings.Split(list, "\n") {
		test, indented := strings.CutPrefix(line, "  ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case indented:
			listed[invariant] = append(listed[invariant], test)
		default:
			invariant = line
			listed[invariant] = nil
		}
	}
	return listed
}

// testsOf finds all tests, fuzz targets, benchmarks and examples, as "package: Name".
func testsOf(m *module) map[string]bool {
	tests := map[string]bool{}
	for _, p := range m.Packages {
		for _, f := range p.Files {
			for _, decl := range f.AST.Decls {
				d, ok := decl.(*ast.FuncDecl)
				if ok && f.IsTest && d.Recv == nil && namedTest.MatchString(p.Path+": "+d.Name.Name) {
					tests[p.Path+": "+d.Name.Name] = true
				}
			}
		}
	}
	return tests
}
