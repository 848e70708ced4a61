// Types checks that Den compiles for other systems, without compiling it: it reads the sources that each system would get,
// those of the standard library and of all dependencies included, and checks their types. A whole build takes a minute of
// two processors for each system, most of it for SQLite; this takes seconds. What it cannot see is assembly and linking.
//
//	go run ./test/types linux/arm64 darwin/amd64 windows/arm64
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	failed := false
	for _, target := range os.Args[1:] {
		began := time.Now()
		n, err := check(target)
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %v\n", target, err)
			continue
		}
		fmt.Printf("%s: the types of %d packages, %v\n", target, n, time.Since(began).Round(time.Second))
	}
	if failed || len(os.Args) < 2 {
		os.Exit(1)
	}
}

// A listed is a package as `go list` tells it.
type listed struct {
	ImportPath, Dir string
	GoFiles         []string
	ImportMap       map[string]string // where the standard library has a copy of its own
	Module          *struct {
		Main      bool
		GoVersion string
	}
	Error *struct{ Err string }
}

// check checks all packages of the module for a system, and gives their number, dependencies included.
func check(target string) (n int, err error) {
	system, arch, ok := strings.Cut(target, "/")
	sizes := types.SizesFor("gc", arch)
	if !ok || sizes == nil {
		return 0, errors.New("a target is written as linux/amd64")
	}
	list := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,ImportMap,Module,Error", "./...")
	list.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0")
	list.Stderr = os.Stderr
	out, err := list.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := list.Start(); err != nil {
		return 0, err
	}
	known := map[string]*types.Package{"unsafe": types.Unsafe}
	for packages := json.NewDecoder(out); ; n++ { // dependencies come first
		var p listed
		if err := packages.Decode(&p); errors.Is(err, io.EOF) {
			return n, list.Wait()
		} else if err != nil {
			return n, err
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		if err := p.check(known, sizes); err != nil {
			return n, fmt.Errorf("%s: %w", p.ImportPath, err)
		}
	}
}

// check checks one package. Of a dependency it takes what can be seen from outside.
func (p *listed) check(known map[string]*types.Package, sizes types.Sizes) error {
	if p.Error != nil {
		return errors.New(p.Error.Err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	var faults []error
	config := types.Config{
		IgnoreFuncBodies: p.Module == nil || !p.Module.Main,
		Importer: importer(func(path string) (*types.Package, error) {
			if mapped, ok := p.ImportMap[path]; ok {
				path = mapped
			}
			if known[path] == nil {
				return nil, fmt.Errorf("%s is not known", path)
			}
			return known[path], nil
		}),
		Sizes: sizes,
		Error: func(err error) { faults = append(faults, err) },
	}
	if p.Module != nil && p.Module.GoVersion != "" {
		config.GoVersion = "go" + p.Module.GoVersion
	}
	checked, err := config.Check(p.ImportPath, set, files, nil)
	known[p.ImportPath] = checked
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	return err
}

type importer func(path string) (*types.Package, error)

func (i importer) Import(path string) (*types.Package, error) { return i(path) }
