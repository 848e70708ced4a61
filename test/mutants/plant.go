package main

// Planting: one build holds the whole sample. A function that has changes asks at its start which change is switched on, and
// calls a copy of itself with that change. The copies stand at the file's end.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// switchedOn is the environment's variable that says which change of the sample runs: its place, from 1.
const switchedOn = "PLANTED_MUTANT"

// switchName is the name of a file that is added to the package. It comes before all others, so that its variable is set
// before any other variable is made.
const switchName = "0planted.go"

const switchFile = `package %s

import (
	"os"
	"strconv"
)

var plantedMutant, _ = strconv.Atoi(os.Getenv(%q))
`

// plant writes the files of a package with a sample's changes, and an overlay that has the compiler read them.
func plant(dir, pkg string, sample []mutant) (overlay string, err error) {
	texts := make(map[string][]byte)
	for _, m := range sample {
		name := filepath.Base(m.file)
		if texts[name] != nil {
			continue
		}
		p := planter{path: m.file, sample: sample, set: token.NewFileSet()}
		if err := p.file(); err != nil {
			return "", err
		}
		texts[name] = append(p.out.Bytes(), p.copies.Bytes()...)
		texts[switchName] = fmt.Appendf(nil, switchFile, p.name, switchedOn)
	}
	replace := make(map[string]string)
	for name, text := range texts {
		original, err := filepath.Abs(filepath.Join(pkg, name))
		if err != nil {
			return "", err
		}
		replace[original] = filepath.Join(dir, name)
		if err := os.WriteFile(replace[original], text, 0o600); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// A planter writes a file with the sample's changes that are its own.
type planter struct {
	path        string
	sample      []mutant
	set         *token.FileSet
	source      []byte
	name        string // the package's
	out, copies bytes.Buffer
}

func (p *planter) file() (err error) {
	if p.source, err = os.ReadFile(p.path); err != nil {
		return err
	}
	file, err := parser.ParseFile(p.set, p.path, p.source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	p.name = file.Name.Name
	written := 0
	for _, d := range file.Decls {
		if fn, is := d.(*ast.FuncDecl); is && fn.Body != nil {
			p.out.Write(p.source[written:p.offset(fn.Type.Pos())])
			p.function(fn)
			written = p.offset(fn.End())
		}
	}
	p.out.Write(p.source[written:])
	return nil
}

func (p *planter) offset(at token.Pos) int { return p.set.Position(at).Offset }

// function writes a function, what it asks, and its copies. In a copy recover would not see the panic, so what calls it
// holds its changed bodies itself.
func (p *planter) function(fn *ast.FuncDecl) {
	start, body, end := p.offset(fn.Type.Pos()), p.offset(fn.Body.Lbrace)+1, p.offset(fn.End())
	named, call := p.signature(fn)
	p.out.Write(edited(p.source, start, body, named...))
	for i, m := range p.sample {
		if m.file != p.path || m.start < body || m.end > end {
			continue
		}
		number, change := i+1, edit{m.start, m.end, m.new}
		if recovers(fn) {
			fmt.Fprintf(&p.out, " if plantedMutant == %d { /*mutant %[1]d*/\n{%s; return /*mutant 0*/\n};", number, edited(p.source, body, end, change))
			continue
		}
		name := fmt.Sprintf("planted%d%s", number, fn.Name.Name)
		fmt.Fprintf(&p.out, " if plantedMutant == %d { %s };", number, fmt.Sprintf(call, name))
		renamed := edit{p.offset(fn.Name.Pos()), p.offset(fn.Name.End()), name}
		fmt.Fprintf(&p.copies, "\n/*mutant %d*/\n%s\n", number, edited(p.source, start, end, append(named, renamed, change)...))
	}
	p.out.Write(p.source[body:end])
}

// signature names the parameters that have no name, and says how a copy is called: a format with the copy's name to be put in.
func (p *planter) signature(fn *ast.FuncDecl) (named []edit, call string) {
	names := func(fields *ast.FieldList) (all []string) {
		if fields == nil {
			return nil
		}
		for _, f := range fields.List {
			for _, id := range f.Names {
				if id.Name == "_" {
					id = &ast.Ident{NamePos: id.NamePos, Name: fmt.Sprintf("planted%d", p.offset(id.Pos()))}
					named = append(named, edit{p.offset(id.Pos()), p.offset(id.Pos()) + 1, id.Name})
				}
				all = append(all, id.Name)
			}
			if at := p.offset(f.Type.Pos()); len(f.Names) == 0 {
				all = append(all, fmt.Sprintf("planted%d", at))
				named = append(named, edit{at, at, all[len(all)-1] + " "})
			}
			if _, variadic := f.Type.(*ast.Ellipsis); variadic {
				all[len(all)-1] += "..."
			}
		}
		return all
	}
	call = "%s"
	if types := names(fn.Type.TypeParams); types != nil {
		call += "[" + strings.Join(types, ", ") + "]"
	}
	if receiver := names(fn.Recv); receiver != nil {
		call = receiver[0] + "." + call
	}
	call += "(" + strings.Join(names(fn.Type.Params), ", ") + ")"
	if fn.Type.Results != nil {
		return named, "return " + call
	}
	return named, call + "; return"
}

// recovers reports whether a function calls recover itself.
func recovers(fn *ast.FuncDecl) (does bool) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		if call, is := n.(*ast.CallExpr); is {
			id, is := call.Fun.(*ast.Ident)
			does = does || is && id.Name == "recover"
		}
		_, inner := n.(*ast.FuncLit)
		return !inner
	})
	return does
}

// An edit replaces the bytes of a text from start to end.
type edit struct {
	start, end int
	with       string
}

// edited is the part of a text from start to end with edits, which are all in it.
func edited(text []byte, start, end int, edits ...edit) []byte {
	edits = slices.SortedFunc(slices.Values(edits), func(a, b edit) int { return a.start - b.start })
	var out []byte
	for _, e := range edits {
		out = append(append(out, text[start:e.start]...), e.with...)
		start = e.end
	}
	return append(out, text[start:end]...)
}

var (
	compilerError = regexp.MustCompile(`(?m)^(?:.*/)?(\w+\.go):(\d+):\d+: `)
	copyBegins    = regexp.MustCompile(`/\*mutant (\d+)\*/`)
)

// refused are the numbers of the mutants in whose copies the compiler found errors.
func refused(dir, errors string) (numbers map[int]bool) {
	numbers = make(map[int]bool)
	for _, e := range compilerError.FindAllStringSubmatch(errors, -1) {
		text, err := os.ReadFile(filepath.Join(dir, e[1]))
		if err != nil {
			continue // no planted file
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		n, _ := strconv.Atoi(e[2])
		before := copyBegins.FindAllSubmatch(bytes.Join(lines[:min(n, len(lines))], nil), -1)
		if len(before) == 0 {
			continue
		}
		if number, _ := strconv.Atoi(string(before[len(before)-1][1])); number > 0 {
			numbers[number] = true
		}
	}
	return numbers
}
