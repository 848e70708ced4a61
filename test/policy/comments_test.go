package policy

import (
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// TestDocComments: what a user of a package can name is explained where it stands: package, types, functions,
// methods, constants and variables, the methods of exported interfaces, and each field of an exported type that is
// called …Options (its unit, its zero). One comment may explain several names of a group or of a type's body: it
// names them.
func TestDocComments(t *testing.T) {
	m := load(t)
	complain(t, commentComplaints(m))
}

func TestDocCommentsSeesSilence(t *testing.T) {
	const doc = "// Package room is.\npackage room\n"
	for source, want := range map[string]string{
		"package room\n":                              "package room has no comment",
		doc + "func Open() {}\n":                      "func Open",
		doc + "type Key int\n":                        "type Key",
		doc + "const A = 1\n":                         "const A",
		doc + "// K is.\ntype K int\nfunc (K) M() {}": "method K.M",
		doc + "// K is.\ntype K[T any] struct{}\nfunc (*K[T]) M() {}":  "method K.M",
		doc + "// I is.\ntype I interface {\n\tM()\n}":                 "method I.M",
		doc + "// Options are.\ntype Options struct {\n\n\tMax int\n}": "field Options.Max",
	} {
		expectComplaint(t, commentComplaints(planted(t, "room", "a.go", source)), want)
	}
	fine := doc + "// Key is.\ntype Key int\nfunc (Key) String() string { return `` }\ntype hidden int\nfunc (hidden) M() {}\n" +
		"// Mark and Confirm are.\nfunc Mark() {}\nfunc Confirm() {}\n// Codes.\nconst (\n\tA = 1\n\tB = 2 // is b\n)\n// Options are.\ntype Options struct {\n\tMax int // zero: none\n\t// A and B are.\n\tA int\n\tB int\n}\n"
	complain(t, commentComplaints(planted(t, "room", "a.go", fine)))
}

// wellKnown methods say what they do by their name alone, because an interface of the standard library explains them.
var wellKnown = map[string]bool{
	"Error": true, "Unwrap": true, "Is": true, "As": true, "String": true, "Len": true, "Less": true, "Swap": true,
	"LogValue": true, "MarshalJSON": true, "UnmarshalJSON": true,
	"Helper": true, "Fatalf": true, "Cleanup": true, "TempDir": true, // testing.TB's
}

func commentComplaints(m *module) []string {
	var complaints []string
	for _, p := range m.Packages {
		if p.Name == "main" {
			continue
		}
		hasDoc, hasFiles := false, false
		for _, f := range p.Files {
			if f.IsTest {
				continue
			}
			hasFiles = true
			hasDoc = hasDoc || f.AST.Doc != nil && strings.HasPrefix(f.AST.Doc.Text(), "Package "+p.Name+" ")
			for _, name := range silentNames(f.AST) {
				complaints = append(complaints, fmt.Sprintf("%s: %s has no comment", m.where(name.pos), name.what))
			}
		}
		if hasFiles && !hasDoc {
			complaints = append(complaints, fmt.Sprintf("package %s has no comment that begins with \"Package %s\"", p.Path, p.Name))
		}
	}
	return complaints
}

type silentName struct {
	pos  token.Pos
	what string
}

func silentNames(f *ast.File) []silentName {
	var silent []silentName
	above := "" // the comment of the function right above: "Mark and Confirm tell …" explains both
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Doc != nil {
				above = d.Doc.Text()
			}
			if d.Doc != nil || !d.Name.IsExported() || mentions(above, d.Name.Name) {
				continue
			}
			if d.Recv == nil {
				silent = append(silent, silentName{d.Pos(), "func " + d.Name.Name})
			} else if r := receiver(d); ast.IsExported(r) && !wellKnown[d.Name.Name] {
				silent = append(silent, silentName{d.Pos(), "method " + r + "." + d.Name.Name})
			}
		case *ast.GenDecl:
			above = ""
			for _, spec := range d.Specs {
				silent = append(silent, silentSpec(d, spec)...)
			}
		}
	}
	return silent
}

func mentions(text, name string) bool {
	return regexp.MustCompile(`\b` + name + `\b`).MatchString(text)
}

func receiver(d *ast.FuncDecl) string {
	e := d.Recv.List[0].Type
	for {
		switch n := e.(type) {
		case *ast.StarExpr:
			e = n.X
		case *ast.IndexExpr:
			e = n.X
		case *ast.IndexListExpr:
			e = n.X
		case *ast.Ident:
			return n.Name
		default:
			return ""
		}
	}
}

func silentSpec(d *ast.GenDecl, spec ast.Spec) []silentName {
	var silent []silentName
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				silent = append(silent, silentName{name.Pos(), d.Tok.String() + " " + name.Name})
			}
		}
	case *ast.TypeSpec:
		if !s.Name.IsExported() {
			return nil
		}
		if d.Doc == nil && s.Doc == nil && s.Comment == nil {
			silent = append(silent, silentName{s.Pos(), "type " + s.Name.Name})
		}
		about := d.Doc.Text() + s.Doc.Text()
		switch body := s.Type.(type) {
		case *ast.InterfaceType:
			silent = append(silent, silentFields("method "+s.Name.Name, about, body.Methods)...)
		case *ast.StructType:
			if strings.HasSuffix(s.Name.Name, "Options") {
				silent = append(silent, silentFields("field "+s.Name.Name, about, body.Fields)...)
			}
		}
	}
	return silent
}

// silentFields lists the exported fields or methods that neither have a comment nor are named in one of the type's
// or of their neighbours'.
func silentFields(what, about string, fields *ast.FieldList) []silentName {
	for _, f := range fields.List {
		about += f.Doc.Text()
	}
	var silent []silentName
	for _, f := range fields.List {
		for _, name := range f.Names {
			commented := f.Doc != nil || f.Comment != nil || mentions(about, name.Name)
			if name.IsExported() && !commented && !wellKnown[name.Name] {
				silent = append(silent, silentName{name.Pos(), what + "." + name.Name})
			}
		}
	}
	return silent
}
