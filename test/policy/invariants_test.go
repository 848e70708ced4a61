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

// invariantsHeading stands in docs/DESIGN.md over the table `| n | **Name** … | tests |`.
const invariantsHeading = "## What must hold"

// TestInvariants: each invariant of docs/DESIGN.md names tests that exist, or says `open: why` where there is none
// yet (it may do both); and each test that calls itself TestInvariant… is named there.
func TestInvariants(t *testing.T) {
	m := load(t)
	page, err := os.ReadFile(filepath.Join(m.Root, "docs", "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	complain(t, invariantComplaints(string(page), testsOf(m)))
}

func TestInvariantsSeesLies(t *testing.T) {
	page := invariantsHeading + "\n\n| | invariant | tests |\n|---|---|---|\n" +
		"| 1 | **Single writer**: one. | `actor: TestInvariantSingleWriter` |\n" +
		"| 2 | **Atomic**: all or none. | `storage: TestInvariantGone` |\n" +
		"| 3 | **Gate**: durable first. | |\n" +
		"| 5 | **Resume**: no gap. | open: with cursors |\n" +
		"| 6 | **Sleep** | open: |\n" +
		"\n## Next\n"
	tests := map[string]bool{"actor: TestInvariantSingleWriter": true, "room: TestInvariantUnnamed": true}
	complaints := invariantComplaints(page, tests)
	expectComplaint(t, complaints, "2", "TestInvariantGone", "no such test")
	expectComplaint(t, complaints, "3", "names no test")
	expectComplaint(t, complaints, "number 5")
	expectComplaint(t, complaints, "6", "names no test")
	expectComplaint(t, complaints, "room: TestInvariantUnnamed", "not named")
	expectComplaint(t, invariantComplaints("# no table\n", nil), "no table")
	if len(complaints) != 5 {
		t.Errorf("%d complaints instead of 5: %q", len(complaints), complaints)
	}
}

var (
	invariantRow = regexp.MustCompile(`^\| (\d+) \| \*\*([^*]+)\*\*(.*) \|(.*)\|$`)
	namedTest    = regexp.MustCompile("`([a-z/0-9]+: (?:Test|Fuzz|Benchmark|Example)[A-Za-z0-9_]+)`")
	saidOpen     = regexp.MustCompile(`open: \S`)
)

func invariantComplaints(page string, tests map[string]bool) []string {
	_, section, found := strings.Cut(page, "\n"+invariantsHeading)
	if !found {
		_, section, found = strings.Cut(page, invariantsHeading)
	}
	if !found {
		return []string{"docs/DESIGN.md has no table under " + invariantsHeading}
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var complaints []string
	named := map[string]bool{}
	next := 1
	for _, line := range strings.Split(section, "\n") {
		row := invariantRow.FindStringSubmatch(strings.TrimRight(line, " "))
		if row == nil {
			continue
		}
		if row[1] != strconv.Itoa(next) {
			complaints = append(complaints, fmt.Sprintf("docs/DESIGN.md: invariant number %s stands where %d should", row[1], next))
		}
		next, _ = strconv.Atoi(row[1])
		next++
		found := namedTest.FindAllStringSubmatch(row[4], -1)
		if len(found) == 0 && !saidOpen.MatchString(row[4]) {
			complaints = append(complaints, fmt.Sprintf("docs/DESIGN.md: invariant %s (%s) names no test and does not say `open: why`", row[1], row[2]))
		}
		for _, f := range found {
			named[f[1]] = true
			if !tests[f[1]] {
				complaints = append(complaints, fmt.Sprintf("docs/DESIGN.md: invariant %s (%s) rests on `%s`: no such test", row[1], row[2], f[1]))
			}
		}
	}
	if next == 1 {
		return []string{"docs/DESIGN.md has no table under " + invariantsHeading}
	}
	for name := range tests {
		if strings.Contains(name, ": TestInvariant") && !named[name] && !strings.HasPrefix(name, "test/policy: ") {
			complaints = append(complaints, fmt.Sprintf("docs/DESIGN.md: the test `%s` is not named in the table under %q", name, invariantsHeading))
		}
	}
	sort.Strings(complaints)
	return complaints
}

// testsOf finds all tests, fuzz targets, benchmarks and examples, as "package: Name".
func testsOf(m *module) map[string]bool {
	tests := map[string]bool{}
	for _, p := range m.Packages {
		for _, f := range p.Files {
			for _, decl := range f.AST.Decls {
				d, ok := decl.(*ast.FuncDecl)
				if ok && f.IsTest && d.Recv == nil && namedTest.MatchString("`"+p.Path+": "+d.Name.Name+"`") {
					tests[p.Path+": "+d.Name.Name] = true
				}
			}
		}
	}
	return tests
}
