package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A shape is how a package is laid out.
type shape struct {
	lines        int    // of its files, without tests
	methods      int    // of the type that has the most
	methodsOf    string // that type
	fields       int    // of the struct that has the most, apart from Options, which is API
	fieldsOf     string // that struct
	arrows       int    // pairs of files of which the first uses a name that the second declares
	backAndForth int    // those of them whose second file uses names of the first too
}

// share is the part of the arrows that go back and forth, in percent.
func (s shape) share() int {
	if s.arrows == 0 {
		return 0
	}
	return (100*s.backAndForth + s.arrows/2) / s.arrows
}

// A package may not become harder to find one's way in than it is. A limit only ever falls.
var shapeLimits = map[string]struct{ methods, fields, share int }{
	"storage":           {58, 15, 11},
	"storage/commitlog": {42, 21, 5},
	"room":              {51, 25, 4},
}

// TestShape: the packages that were once too large have no more methods of one type, fields of one struct, and arrows
// that go back and forth between files than shapeLimits says.
func TestShape(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	for path, limit := range shapeLimits {
		s, err := shapeOf(root, path)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d lines; %s has %d methods; %s has %d fields; %d arrows between files, %d %% of them back and forth",
			path, s.lines, s.methodsOf, s.methods, s.fieldsOf, s.fields, s.arrows, s.share())
		if s.methods > limit.methods || s.fields > limit.fields || s.share() > limit.share {
			t.Errorf("%s may have %d methods, %d fields and %d %%", path, limit.methods, limit.fields, limit.share)
		}
	}
}

// shapeOf type-checks a package, against the compiler's export data of what it imports.
func shapeOf(root, path string) (s shape, err error) {
	dir := filepath.Join(root, path)
	list := exec.Command("go", "list", "-export", "-deps", "-json=Dir,ImportPath,Export,GoFiles", ".")
	list.Dir, list.Stderr = dir, os.Stderr
	out, err := list.Output()
	if err != nil {
		return s, err
	}
	exports := map[string]string{}
	var names []string
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir, ImportPath, Export string
			GoFiles                 []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return s, err
		}
		exports[p.ImportPath] = p.Export
		if p.Dir == dir {
			names = p.GoFiles
		}
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(set, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return s, err
		}
		files = append(files, f)
	}
	return measureShape(set, files, importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }))
}

// measureShape looks at the files of a package.
func measureShape(set *token.FileSet, files []*ast.File, imports types.Importer) (s shape, err error) {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	p, err := (&types.Config{Importer: imports}).Check("p", set, files, info)
	if err != nil {
		return s, err
	}
	for _, f := range files {
		s.lines += set.File(f.Pos()).LineCount()
	}
	for _, name := range p.Scope().Names() {
		named, is := types.Unalias(p.Scope().Lookup(name).Type()).(*types.Named)
		if _, declared := p.Scope().Lookup(name).(*types.TypeName); !is || !declared {
			continue
		}
		if n := named.NumMethods(); n > s.methods {
			s.methods, s.methodsOf = n, name
		}
		if st, is := named.Underlying().(*types.Struct); is && name != "Options" && st.NumFields() > s.fields {
			s.fields, s.fieldsOf = st.NumFields(), name
		}
	}
	type arrow struct{ from, to string }
	drawn := map[arrow]bool{}
	for id, o := range info.Uses {
		if o.Pkg() != p || !o.Pos().IsValid() || local(p, o) {
			continue
		}
		if a := (arrow{set.Position(id.Pos()).Filename, set.Position(o.Pos()).Filename}); a.from != a.to {
			drawn[a] = true
		}
	}
	s.arrows = len(drawn)
	for a := range drawn {
		if drawn[arrow{a.to, a.from}] {
			s.backAndForth++
		}
	}
	return s, nil
}

// local reports whether an object is declared within a function.
func local(p *types.Package, o types.Object) bool {
	switch o := o.(type) {
	case *types.Var:
		return !o.IsField() && o.Parent() != p.Scope()
	case *types.Func:
		return false
	}
	return o.Parent() != p.Scope()
}

func TestShapeCounts(t *testing.T) {
	set := token.NewFileSet()
	var files []*ast.File
	for name, source := range map[string]string{
		"a.go": "package p\ntype A struct{ x, y int; b *B }\nfunc (a A) one() { a.b.two() }\nfunc (a A) three() {}\n",
		"b.go": "package p\ntype B struct{ a A }\nfunc (b *B) two() { b.a.one(); helper() }\n",
		"c.go": "package p\ntype Options struct{ a, b, c, d int }\nfunc helper() { for i := range 3 { _ = i } }\n",
	} {
		f, err := parser.ParseFile(set, name, source, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b *ast.File) int {
		return strings.Compare(set.Position(a.Pos()).Filename, set.Position(b.Pos()).Filename)
	})
	s, err := measureShape(set, files, importer.Default())
	if want := (shape{10, 2, "A", 3, "A", 3, 2}); err != nil || s != want {
		t.Errorf("%s, want %s (%v)", fmt.Sprint(s), fmt.Sprint(want), err)
	}
	if got := s.share(); got != 67 {
		t.Errorf("a share of %d, want 67", got)
	}
}
