package policy

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files of the exported API")

// TestAPI compares what each public package exports with testdata/api, so that a change of the API is seen in the
// diff of a commit and is never an accident. `make api` (this test with -update) writes the files again.
func TestAPI(t *testing.T) {
	m := load(t)
	dir := filepath.Join(m.Root, "test", "policy", "testdata", "api")
	apis := map[string]string{}
	for _, p := range m.Packages {
		if p.Name == "main" || strings.HasPrefix(p.Path, "test/") || strings.Contains("/"+p.Path+"/", "/internal/") {
			continue
		}
		api, err := exportedAPI(m, p)
		if err != nil {
			t.Fatal(err)
		}
		if api != "" {
			apis[strings.ReplaceAll(p.Path, "/", "_")+".txt"] = api
		}
	}
	if *update {
		if err := writeAPIs(dir, apis); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := readAPIs(dir)
	if err != nil {
		t.Fatalf("%v\nwrite the golden files with: make api", err)
	}
	complain(t, apiComplaints(golden, apis))
}

func TestAPISeesChanges(t *testing.T) {
	m := planted(t, "room", "a.go", "package room\n// Key is.\ntype Key struct {\n\tRoom string\n\tsecret int\n}\n"+
		"// Open opens.\nfunc Open(k Key) (int, error) { return 0, nil }\n// M is.\nfunc (*Key) M() {}\nfunc hidden() {}\n")
	api, err := exportedAPI(m, m.Packages[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"func Open(k Key) (int, error)", "func (*Key) M()", "Room string"} {
		if !strings.Contains(api, want) {
			t.Errorf("%q is not in\n%s", want, api)
		}
	}
	for _, unwanted := range []string{"hidden", "secret", "is.", "return"} {
		if strings.Contains(api, unwanted) {
			t.Errorf("%q is in\n%s", unwanted, api)
		}
	}
	complaints := apiComplaints(map[string]string{"a.txt": "x\ny\n", "b.txt": "z\n"}, map[string]string{"a.txt": "x\nw\n", "c.txt": "v\n"})
	for _, want := range []string{"- y", "+ w", "- z", "+ v"} {
		expectComplaint(t, complaints, want)
	}
}

// exportedAPI prints a package's exported declarations without comments and bodies, types with their methods, in
// the order of their names.
func exportedAPI(m *module, p goPackage) (string, error) {
	var files []*ast.File
	for _, f := range p.Files {
		if !f.IsTest && f.AST.Name.Name == p.Name {
			files = append(files, exportedOnly(f.AST))
		}
	}
	if len(files) == 0 {
		return "", nil
	}
	d, err := doc.NewFromFiles(m.Fset, files, modulePath+"/"+p.Path, doc.PreserveAST)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "package %s // %s\n", p.Name, modulePath+"/"+p.Path)
	w := apiWriter{fset: token.NewFileSet(), out: &out}
	w.values(d.Consts)
	w.values(d.Vars)
	w.funcs(d.Funcs)
	for _, typ := range d.Types {
		w.decl(typ.Decl)
		w.values(typ.Consts)
		w.values(typ.Vars)
		w.funcs(typ.Funcs)
		w.funcs(typ.Methods)
	}
	return out.String(), w.err
}

// exportedOnly is a copy of a file's declarations without what is not exported. doc.NewFromFiles filters too, but
// in place, and the files are shared by all tests.
func exportedOnly(f *ast.File) *ast.File {
	out := *f
	out.Decls = nil
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			c := *d
			c.Body, c.Doc = nil, nil
			out.Decls = append(out.Decls, &c)
		case *ast.GenDecl:
			c := *d
			c.Doc, c.Specs = nil, nil
			for _, spec := range d.Specs {
				c.Specs = append(c.Specs, bareSpec(spec))
			}
			out.Decls = append(out.Decls, &c)
		}
	}
	out.Comments = nil
	return &out
}

func bareSpec(spec ast.Spec) ast.Spec {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		c := *s
		c.Doc, c.Comment = nil, nil
		return &c
	case *ast.TypeSpec:
		c := *s
		c.Doc, c.Comment = nil, nil
		switch body := c.Type.(type) {
		case *ast.StructType:
			c.Type = &ast.StructType{Struct: body.Struct, Fields: bareFields(body.Fields, false)}
		case *ast.InterfaceType:
			c.Type = &ast.InterfaceType{Interface: body.Interface, Methods: bareFields(body.Methods, true)}
		}
		return &c
	}
	return spec
}

// bareFields keeps what is exported or embedded. An interface's unexported methods stay: they decide who can
// implement it.
func bareFields(fields *ast.FieldList, all bool) *ast.FieldList {
	out := &ast.FieldList{Opening: fields.Opening, Closing: fields.Closing}
	for _, f := range fields.List {
		c := *f
		c.Doc, c.Comment, c.Names = nil, nil, nil
		for _, name := range f.Names {
			if all || name.IsExported() {
				c.Names = append(c.Names, name)
			}
		}
		if len(f.Names) == 0 || len(c.Names) > 0 {
			out.List = append(out.List, &c)
		}
	}
	return out
}

type apiWriter struct {
	fset *token.FileSet // knows no file: positions mean nothing, so layout depends on the declarations alone
	out  *bytes.Buffer
	err  error
}

func (w *apiWriter) decl(d ast.Decl) {
	var text bytes.Buffer
	config := printer.Config{Mode: printer.UseSpaces, Tabwidth: 4}
	if err := config.Fprint(&text, w.fset, d); err != nil && w.err == nil {
		w.err = err
	}
	shown := strings.ReplaceAll(text.String(), "}// contains", "} // contains")
	for _, line := range strings.Split(shown, "\n") {
		if strings.TrimSpace(line) != "" {
			fmt.Fprintln(w.out, strings.TrimRight(line, " "))
		}
	}
}

func (w *apiWriter) values(values []*doc.Value) {
	for _, v := range values {
		w.decl(v.Decl)
	}
}

func (w *apiWriter) funcs(funcs []*doc.Func) {
	for _, f := range funcs {
		w.decl(f.Decl)
	}
}

func writeAPIs(dir string, apis map[string]string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, api := range apis {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(api), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func readAPIs(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	golden := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		golden[e.Name()] = string(content)
	}
	return golden, nil
}

// apiComplaints names the lines that went and came, a package at a time.
func apiComplaints(golden, now map[string]string) []string {
	names := map[string]bool{}
	for name := range golden {
		names[name] = true
	}
	for name := range now {
		names[name] = true
	}
	var complaints []string
	for name := range names {
		if golden[name] == now[name] {
			continue
		}
		lines := append(only("- ", golden[name], now[name]), only("+ ", now[name], golden[name])...)
		complaints = append(complaints, fmt.Sprintf("the exported API changed (%s). If that is meant, run make api and commit it:\n%s", name, strings.Join(lines, "\n")))
	}
	return complaints
}

// only lists the lines of a that b has not.
func only(mark, a, b string) []string {
	in := map[string]bool{}
	for _, line := range strings.Split(b, "\n") {
		in[line] = true
	}
	var lines []string
	for _, line := range strings.Split(a, "\n") {
		if !in[line] {
			lines = append(lines, mark+line)
		}
	}
	return lines
}
