package policy

import (
	"fmt"
	"go/ast"
	"strconv"
	"strings"
	"testing"
)

// What a move or a rename by a tool leaves behind.

// TestImportGroups: the imports of the standard library and the others stand in groups of their own, with an empty line between them.
func TestImportGroups(t *testing.T) {
	complain(t, importComplaints(load(t)))
}

// TestDocNames: the comment of a declaration does not begin with its name in other letters, as it does after the name was exported.
func TestDocNames(t *testing.T) {
	complain(t, docNameComplaints(load(t)))
}

func TestLeftoversAreSeen(t *testing.T) {
	mixed := "package room\n\nimport (\n\t\"fmt\"\n\t\"github.com/denrooms/den/actor\"\n\t\"os\"\n)\n"
	expectComplaint(t, importComplaints(planted(t, "room", "a.go", mixed)), "os and github.com/denrooms/den/actor are in one group")
	complain(t, importComplaints(planted(t, "room", "a.go", "package room\n\nimport (\n\t\"fmt\"\n\t\"os\"\n\n\t\"github.com/denrooms/den/actor\"\n)\n")))
	for _, source := range []string{"// open opens.\nfunc Open() {}\n", "// A key is.\ntype Key int\n", "// limit is.\nconst Limit = 1\n"} {
		expectComplaint(t, docNameComplaints(planted(t, "room", "a.go", "package room\n"+source)), "begins with")
	}
	complain(t, docNameComplaints(planted(t, "room", "a.go", "package room\n// Open opens.\nfunc Open() {}\n// A Key is.\ntype Key int\n")))
}

func importComplaints(m *module) (complaints []string) {
	for _, p := range m.Packages {
		for _, f := range p.Files {
			last, before := 0, ""
			for _, spec := range f.AST.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					continue
				}
				line := m.Fset.Position(spec.Pos()).Line
				if line == last+1 && standard(path) != standard(before) {
					complaints = append(complaints, fmt.Sprintf("%s: %s and %s are in one group of imports", m.where(spec.Pos()), path, before))
				}
				last, before = line, path
			}
		}
	}
	return complaints
}

func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func docNameComplaints(m *module) (complaints []string) {
	for _, p := range m.Packages {
		for _, f := range p.Files {
			check := func(doc *ast.CommentGroup, name string) {
				words := strings.Fields(doc.Text())
				if len(words) > 1 && (words[0] == "A" || words[0] == "An") {
					words = words[1:]
				}
				if len(words) > 0 && words[0] != name && strings.EqualFold(words[0], name) {
					complaints = append(complaints, fmt.Sprintf("%s: the comment of %s begins with %s", m.where(doc.Pos()), name, words[0]))
				}
			}
			for _, decl := range f.AST.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					check(d.Doc, d.Name.Name)
				case *ast.GenDecl:
					if len(d.Specs) != 1 {
						continue
					}
					switch s := d.Specs[0].(type) {
					case *ast.TypeSpec:
						check(d.Doc, s.Name.Name)
					case *ast.ValueSpec:
						check(d.Doc, s.Names[0].Name)
					}
				}
			}
		}
	}
	return complaints
}
