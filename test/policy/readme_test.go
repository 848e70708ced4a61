package policy

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeCode: a Go block of README.md that is a program or a part of one is code that compiles, because it is a
// file of the module, or whole lines of one. The line above the block says which:
//
//	<!-- from: fixtures/hello/main.go -->       the block is this file, byte for byte
//	<!-- part of: fixtures/hello/main.go -->    the block is some lines of this file that follow each other
//
// A Go block without such a line is a sketch; it must at least parse.
func TestReadmeCode(t *testing.T) {
	m := load(t)
	page, err := os.ReadFile(filepath.Join(m.Root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, p := range m.Packages {
		for _, f := range p.Files {
			content, err := os.ReadFile(filepath.Join(m.Root, filepath.FromSlash(f.Name)))
			if err != nil {
				t.Fatal(err)
			}
			files[f.Name] = string(content)
		}
	}
	complain(t, readmeComplaints(string(page), files))
}

func TestReadmeCodeSeesDrift(t *testing.T) {
	files := map[string]string{"a/a.go": "package a\n\nfunc A() {\n\tb()\n}\n"}
	block := func(mark, code string) string { return "text\n\n" + mark + "\n```go\n" + code + "```\n" }
	for page, want := range map[string]string{
		block("", "func A() {\n"):                                     "does not parse",
		block("", ""):                                                 "empty",
		block("<!-- from: b.go -->", "package a\n"):                   "no Go file",
		block("<!-- from: a/a.go -->", "package a\n"):                 "differs",
		block("<!-- part of: a/a.go -->", "func A() {\n\tc()\n}\n"):   "differs",
		block("<!-- part of: a/a.go -->", "A() {\n\tb()\n}\n"):        "differs",
		block("<!-- part of: a/a.go -->", "func A() {\n\tb()\n}\n\n"): "differs",
		block("<!-- part of: a/a.go -->", ""):                         "empty",
	} {
		expectComplaint(t, readmeComplaints(page, files), "README.md:", want)
	}
	complain(t, readmeComplaints(block("<!-- from: a/a.go -->", files["a/a.go"]), files))
	complain(t, readmeComplaints(block("<!-- part of: a/a.go -->", "func A() {\n\tb()\n}\n"), files))
	complain(t, readmeComplaints(block("", "a, err := b()\nf(func() {})\n"), files))
	complain(t, readmeComplaints(block("", "type A struct{}\nfunc (A) M() {}\n"), files))
	complain(t, readmeComplaints("```sh\ngo run ./cmd/den\n```\n", files))
}

var (
	goBlock    = regexp.MustCompile("(?ms)^([^\n]*)\n```go\n(.*?)^```$")
	codeOrigin = regexp.MustCompile(`^<!-- (from|part of): (\S+) -->$`)
)

func readmeComplaints(page string, files map[string]string) []string {
	var complaints []string
	for _, at := range goBlock.FindAllStringSubmatchIndex("\n"+page, -1) {
		text := "\n" + page
		line := strings.Count(text[:at[3]], "\n") + 1
		above, code := text[at[2]:at[3]], text[at[4]:at[5]]
		if why := blockComplaint(above, code, files); why != "" {
			complaints = append(complaints, fmt.Sprintf("README.md:%d: %s", line, why))
		}
	}
	return complaints
}

func blockComplaint(above, code string, files map[string]string) string {
	origin := codeOrigin.FindStringSubmatch(above)
	if origin == nil {
		return sketchComplaint(code)
	}
	content, found := files[origin[2]]
	switch {
	case !found:
		return fmt.Sprintf("%s is no Go file of a package of this module", origin[2])
	case code == "":
		return "the block is empty"
	case origin[1] == "from" && code != content:
		return fmt.Sprintf("the block differs from %s: copy the file", origin[2])
	case origin[1] == "part of" && !strings.Contains("\n"+content, "\n"+code):
		return fmt.Sprintf("the block differs from the lines of %s: copy them", origin[2])
	}
	return ""
}

// sketchComplaint accepts a file, declarations, or statements.
func sketchComplaint(code string) string {
	if strings.TrimSpace(code) == "" {
		return "the block is empty"
	}
	var first error
	for _, source := range []string{code, "package p\n" + code, "package p\nfunc f() {\n" + code + "\n}"} {
		_, err := parser.ParseFile(token.NewFileSet(), "", source, 0)
		if err == nil {
			return ""
		}
		if first == nil || source != code {
			first = err
		}
	}
	return fmt.Sprintf("the block does not parse: %v", first)
}
