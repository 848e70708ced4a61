package main

// Where a change can be made, and which.

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A mutant is one change of a file.
type mutant struct {
	file       string // the path in the module
	function   string // where it is; (*T).name for a method
	line       int
	reached    int    // the line that a profile has where the change is reached; another one in the condition of a case
	start, end int    // bytes that are replaced
	old, new   string // by what
	code       string // the line as it was, without the space around it
}

func (m mutant) String() string {
	return fmt.Sprintf("%s:%d in %s: %q for %q in %s", m.file, m.line, m.function, m.new, m.old, m.code)
}

// apply is the file with the change.
func (m mutant) apply(source []byte) []byte {
	return slices.Concat(source[:m.start], []byte(m.new), source[m.end:])
}

// A finder goes through a file.
type finder struct {
	set      *token.FileSet
	path     string
	source   []byte
	function string
	switches int // the line of the switch whose cases' conditions are looked at, or 0
	found    []mutant
}

// findAll finds the mutants of a package's files, in the order of their files and places.
func findAll(dir string) ([]mutant, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []mutant
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if match, err := build.Default.MatchFile(dir, name); err != nil || !match {
			continue
		}
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		found, err := find(filepath.Join(dir, name), source)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// find finds the mutants of a file.
func find(path string, source []byte) ([]mutant, error) {
	f := &finder{set: token.NewFileSet(), path: path, source: source}
	file, err := parser.ParseFile(f.set, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		if fn, is := d.(*ast.FuncDecl); is && fn.Body != nil {
			f.function = nameOf(fn)
			ast.Inspect(fn.Body, f.look)
		}
	}
	return f.found, nil
}

func nameOf(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	switch t := fn.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if id, is := t.X.(*ast.Ident); is {
			return "(*" + id.Name + ")." + fn.Name.Name
		}
	case *ast.Ident:
		return t.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// quiet are functions whose calls nobody's behavior depends on: a log's, those that write an error's text, which is for people,
// and the deliberate bugs of the simulation.
func quiet(call *ast.CallExpr) bool {
	s, is := call.Fun.(*ast.SelectorExpr)
	if !is {
		return false
	}
	switch s.Sel.Name {
	case "Debug", "Info", "Warn", "Error", "Errorf", "tell", "complain", "panicked":
		return true
	case "On":
		id, is := s.X.(*ast.Ident)
		return is && id.Name == "bug"
	}
	return false
}

// look adds the changes of a node; what is below a quiet call has none.
func (f *finder) look(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		return !quiet(n)
	case *ast.BinaryExpr:
		for _, op := range swaps(n.Op) {
			f.add(n.OpPos, len(n.Op.String()), op)
		}
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			f.add(n.OpPos, 1, "")
		}
	case *ast.IfStmt:
		if isBug(n.Cond) { // nobody meets it, but for the simulation
			if n.Else != nil {
				ast.Inspect(n.Else, f.look)
			}
			return false
		}
		f.condition(n.Cond)
	case *ast.SwitchStmt:
		f.cases(n)
		return false
	case *ast.ForStmt:
		if n.Cond != nil {
			f.replace(n.Cond, "false && ("+f.text(n.Cond)+")")
		}
	case *ast.IncDecStmt:
		f.add(n.TokPos, 2, map[token.Token]string{token.INC: "--", token.DEC: "++"}[n.Tok])
	case *ast.AssignStmt:
		f.assignment(n)
	case *ast.ExprStmt:
		if call, is := n.X.(*ast.CallExpr); is && !quiet(call) && !isPanic(call) {
			f.replace(n, "")
		}
	case *ast.DeferStmt:
		f.replace(n, "")
	case *ast.ReturnStmt:
		f.results(n)
	case *ast.BasicLit:
		if n.Kind == token.INT && len(n.Value) < 10 {
			f.replace(n, "("+n.Value+" + 1)")
		}
	case *ast.BranchStmt:
		if n.Label == nil && n.Tok == token.CONTINUE {
			f.replace(n, "break")
		}
	}
	return true
}

// cases looks at a switch. A profile counts the condition of a case with what comes before the switch.
func (f *finder) cases(n *ast.SwitchStmt) {
	for _, before := range []ast.Node{n.Init, n.Tag} {
		if before != nil {
			ast.Inspect(before, f.look)
		}
	}
	for _, c := range n.Body.List {
		c := c.(*ast.CaseClause)
		f.switches = f.set.Position(n.Pos()).Line
		for _, condition := range c.List {
			ast.Inspect(condition, f.look)
		}
		f.switches = 0
		for _, s := range c.Body {
			ast.Inspect(s, f.look)
		}
	}
}

func isPanic(call *ast.CallExpr) bool {
	id, is := call.Fun.(*ast.Ident)
	return is && id.Name == "panic"
}

// isBug reports whether a condition holds only where a deliberate bug is switched on.
func isBug(cond ast.Expr) bool {
	switch c := cond.(type) {
	case *ast.BinaryExpr:
		return c.Op == token.LAND && (isBug(c.X) || isBug(c.Y))
	case *ast.CallExpr:
		s, is := c.Fun.(*ast.SelectorExpr)
		if !is || s.Sel.Name != "On" {
			return false
		}
		id, is := s.X.(*ast.Ident)
		return is && id.Name == "bug"
	}
	return false
}

// condition makes a condition always true, and never.
func (f *finder) condition(cond ast.Expr) {
	text := f.text(cond)
	if strings.Contains(text, "bug.On(") {
		return
	}
	f.replace(cond, "true || ("+text+")")
	f.replace(cond, "false && ("+text+")")
}

// assignment leaves an assignment out, but not a declaration.
func (f *finder) assignment(n *ast.AssignStmt) {
	switch n.Tok {
	case token.DEFINE:
	case token.ADD_ASSIGN:
		f.add(n.TokPos, 2, "-=")
		f.replace(n, "")
	case token.SUB_ASSIGN:
		f.add(n.TokPos, 2, "+=")
		f.replace(n, "")
	default:
		f.replace(n, "")
	}
}

// results makes another value of a truth that is returned, and none of an error.
func (f *finder) results(n *ast.ReturnStmt) {
	for _, r := range n.Results {
		id, is := r.(*ast.Ident)
		if !is {
			continue
		}
		switch id.Name {
		case "true":
			f.replace(r, "false")
		case "false":
			f.replace(r, "true")
		case "err":
			f.replace(r, "nil")
		}
	}
}

// swaps are what an operator may be mistaken for.
func swaps(op token.Token) []string {
	switch op {
	case token.EQL:
		return []string{"!="}
	case token.NEQ:
		return []string{"=="}
	case token.LSS:
		return []string{"<=", ">="}
	case token.LEQ:
		return []string{"<", ">"}
	case token.GTR:
		return []string{">=", "<="}
	case token.GEQ:
		return []string{">", "<"}
	case token.LAND:
		return []string{"||"}
	case token.LOR:
		return []string{"&&"}
	case token.ADD:
		return []string{"-"}
	case token.SUB:
		return []string{"+"}
	case token.MUL:
		return []string{"/"}
	case token.QUO:
		return []string{"*"}
	}
	return nil
}

func (f *finder) offset(p token.Pos) int { return f.set.Position(p).Offset }

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.offset(n.Pos()):f.offset(n.End())])
}

func (f *finder) replace(n ast.Node, with string) {
	f.add(n.Pos(), f.offset(n.End())-f.offset(n.Pos()), with)
}

func (f *finder) add(at token.Pos, length int, with string) {
	start := f.offset(at)
	line := f.set.Position(at).Line
	f.found = append(f.found, mutant{
		file: filepath.ToSlash(f.path), function: f.function, line: line, reached: cmp.Or(f.switches, line), start: start, end: start + length,
		old: string(f.source[start : start+length]), new: with,
		code: strings.TrimSpace(strings.Split(string(f.source), "\n")[line-1]),
	})
}

// draw puts mutants into the order in which they are tried.
func draw(all []mutant, seed uint64) []mutant {
	all = slices.Clone(all)
	rand.New(rand.NewPCG(seed, 50)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}
