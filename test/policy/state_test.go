package policy

import (
	"fmt"
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

// kept are the package-level variables that may change, each with its reason. There should be next to none.
var kept = map[string]string{
	"storage/sqlite.conns":      "SQLite's callbacks carry a number and no Go pointer: they find their connection in this table",
	"storage/dbfile.registered": "SQLite's callbacks carry a number and no Go pointer: they find their files in this table",
	"storage/dbfile.claims":     "where only the process has locks, and no open file, who in it may lock a file is the process's too",
}

// TestNoState: a package keeps nothing of its own that changes, and does nothing when it is merely imported. Two
// hosts in one process, or two tests, must not meet in a variable.
//
// The rule, as far as the parser sees: no func init; a package-level var has a value from the start, that value is
// not made to be changed (a channel, make, new, anything of sync or sync/atomic), and no statement of the package
// assigns to it, to an element or field of it, takes its address, or deletes from it. So sentinel errors, compiled
// patterns, embedded files and tables pass. So do a sync.Once… and a sync.Pool: nobody can tell whether another has
// used them.
func TestNoState(t *testing.T) {
	m := load(t)
	complain(t, stateComplaints(m))
}

func TestNoStateSeesState(t *testing.T) {
	for source, want := range map[string]string{
		"func init() { println() }":                                     "func init",
		"var cache map[string]int":                                      "has no value",
		"var cache = make(map[string]int)":                              "made to be changed",
		"var p = new(int)":                                              "made to be changed",
		"var mu sync.Mutex":                                             "made to be changed",
		"var n = atomic.Int64{}":                                        "made to be changed",
		"var m = map[string]*sync.Mutex{}":                              "made to be changed",
		"var c chan int = nil":                                          "made to be changed",
		"var n = 1\nfunc f() { n = 2 }":                                 "assigns to n",
		"var n = 1\nfunc f() { n++ }":                                   "assigns to n",
		"var a = []int{1}\nfunc f() { a[0] = 2 }":                       "assigns to a",
		"var s = struct{ x int }{}\nfunc f() { s.x = 2 }":               "assigns to s",
		"var m = map[int]int{}\nfunc f() { delete(m, 1) }":              "assigns to m",
		"var n = 1\nfunc f() *int { return &n }":                        "address of n",
		"var n = 1\nfunc f() { for n = range 3 { println() } }":         "assigns to n",
		"var n = 1\nfunc f(m int) { if m > 1 { (n), m = m, m - 1 } }":   "assigns to n",
		"var e = errors.New(``)\nfunc f() { go func() { e = nil }() }":  "assigns to e",
		"var a = [2]int{}\nfunc f() { a[0]++ }":                         "assigns to a",
		"var f = func() {}\nfunc g() { f = nil }":                       "assigns to f",
		"var m = map[int][]int{}\nfunc f() { m[1][2] = 3 }":             "assigns to m",
		"var s = struct{ t []int }{}\nfunc f() { s.t[1] = 3 }":          "assigns to s",
		"var (\n\ta = 1\n\tb = 2\n)\nfunc f() { a, b = b, a }":          "assigns to b",
		"var m = map[int]int{}\nfunc f() { clear(m) }":                  "assigns to m",
		"var p = &struct{ x int }{}\nfunc f() { p.x = 1 }":              "assigns to p",
		"var p = &struct{ x int }{}\nfunc f() { (*p).x = 1 }":           "assigns to p",
		"var once = sync.OnceFunc(func() {})\nvar g = sync.Map{}":       "var g",
		"var handles, other = map[int]int{}, 1\nfunc f() { other += 1}": "assigns to other",
	} {
		m := planted(t, "room", "a.go", "package room\n"+source+"\n")
		expectComplaint(t, stateComplaints(m), want)
	}
	fine := "package room\nvar errX = errors.New(``)\nvar re = regexp.MustCompile(`a`)\nvar table = map[string]int{`a`: 1}\n" +
		"var _ Handler = (*Base)(nil)\n//go:embed web\nvar files embed.FS\nvar load = sync.OnceValue(read)\n" +
		"var pool = sync.Pool{New: func() any { return new(int) }}\n" +
		"func f() { table := map[int]int{}; table[1] = 2; errX := 1; errX++; println(&table, errX) }\n"
	complain(t, stateComplaints(planted(t, "room", "a.go", fine)))
}

func stateComplaints(m *module) []string {
	var complaints []string
	for _, p := range m.Packages {
		vars := map[string]*ast.ValueSpec{}
		for _, f := range p.Files {
			if f.IsTest || p.Path == "test" || strings.HasPrefix(p.Path, "test/") {
				continue
			}
			for _, decl := range f.AST.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					if d.Recv == nil && d.Name.Name == "init" {
						complaints = append(complaints, fmt.Sprintf("%s: func init: do it where the program starts, or where the value is made", m.where(d.Pos())))
					}
				case *ast.GenDecl:
					complaints = append(complaints, m.declared(p, d, vars)...)
				}
			}
		}
		for _, f := range p.Files {
			complaints = append(complaints, m.assigned(p, f, vars)...)
		}
	}
	return complaints
}

// declared collects the variables of a declaration into vars and complains of those that cannot be constant.
func (m *module) declared(p goPackage, d *ast.GenDecl, vars map[string]*ast.ValueSpec) []string {
	if d.Tok != token.VAR {
		return nil
	}
	var complaints []string
	for _, s := range d.Specs {
		spec := s.(*ast.ValueSpec)
		embedded := isEmbed(d.Doc) || isEmbed(spec.Doc)
		for _, name := range spec.Names {
			if name.Name == "_" || kept[p.Path+"."+name.Name] != "" {
				continue
			}
			vars[name.Name] = spec
			switch {
			case madeToChange(spec):
				complaints = append(complaints, fmt.Sprintf("%s: var %s is made to be changed: let its owner hold it, or name it in the table of this test with a reason", m.where(name.Pos()), name.Name))
			case len(spec.Values) == 0 && !embedded:
				complaints = append(complaints, fmt.Sprintf("%s: var %s has no value, so somebody must assign one later: let its owner hold it", m.where(name.Pos()), name.Name))
			}
		}
	}
	return complaints
}

func isEmbed(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, c := range doc.List {
		if strings.HasPrefix(c.Text, "//go:embed ") {
			return true
		}
	}
	return false
}

// madeToChange tells of a variable whose type or value says that it will change. Inside a function literal anything
// may be made.
func madeToChange(spec *ast.ValueSpec) bool {
	found := false
	look := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.ChanType:
			found = true
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok && (name.Name == "make" || name.Name == "new") {
				found = true
			}
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if ok && (pkg.Name == "sync" || pkg.Name == "atomic") && !strings.HasPrefix(n.Sel.Name, "Once") && n.Sel.Name != "Pool" {
				found = true
			}
		}
		return !found
	}
	if spec.Type != nil {
		ast.Inspect(spec.Type, look)
	}
	for _, v := range spec.Values {
		ast.Inspect(v, look)
	}
	return found
}

// assigned complains of statements of a file that change one of the package's variables. Names are resolved by the
// parser: a local variable of the same name is another one.
func (m *module) assigned(p goPackage, f goFile, vars map[string]*ast.ValueSpec) []string {
	if p.Name != f.AST.Name.Name {
		return nil // an external test: what it assigns is not its own
	}
	var complaints []string
	report := func(what string, e ast.Expr) {
		if name := rootName(e); name != nil && isPackageVar(name, vars) {
			complaints = append(complaints, fmt.Sprintf("%s: %s %s, a variable of package %s: let its owner hold it", m.where(name.Pos()), what, name.Name, p.Path))
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				report("assigns to", e)
			}
		case *ast.IncDecStmt:
			report("assigns to", n.X)
		case *ast.RangeStmt:
			report("assigns to", n.Key)
			report("assigns to", n.Value)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				report("takes the address of", n.X)
			}
		case *ast.CallExpr:
			if name, ok := n.Fun.(*ast.Ident); ok && (name.Name == "delete" || name.Name == "clear") && len(n.Args) > 0 {
				report("assigns to", n.Args[0])
			}
		}
		return true
	})
	return complaints
}

// rootName is x of x, x.f, x[i], *x, (x) and any mix of them.
func rootName(e ast.Expr) *ast.Ident {
	for {
		switch n := e.(type) {
		case *ast.Ident:
			return n
		case *ast.SelectorExpr:
			e = n.X
		case *ast.IndexExpr:
			e = n.X
		case *ast.StarExpr:
			e = n.X
		case *ast.ParenExpr:
			e = n.X
		default:
			return nil
		}
	}
}

// isPackageVar: the parser leaves a name of another file unresolved and points one of this file at its declaration.
func isPackageVar(name *ast.Ident, vars map[string]*ast.ValueSpec) bool {
	spec, known := vars[name.Name]
	if !known {
		return false
	}
	return name.Obj == nil || name.Obj.Decl == spec
}
