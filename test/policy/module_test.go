package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
)

// modulePath is the path of Den's module; what starts with it is ours.
const modulePath = "github.com/denrooms/den"

// goPackage is one package of the module, with all its files parsed, those of other systems included.
type goPackage struct {
	Path  string // relative to the module: "room/roomtest"; "" for its root
	Name  string
	Dir   string
	Files []goFile
}

type goFile struct {
	Name   string // relative to the module, with slashes
	IsTest bool
	AST    *ast.File
}

type module struct {
	Root     string
	Fset     *token.FileSet
	Packages []goPackage
}

// thisModule is read once for all tests; nobody changes it.
var thisModule = sync.OnceValues(loadModule)

func load(t *testing.T) *module {
	t.Helper()
	m, err := thisModule()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Packages) < 5 {
		t.Fatalf("go list found %d packages: the rules would hold of nothing", len(m.Packages))
	}
	return m
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	gomod := strings.TrimSpace(string(out))
	if filepath.Base(gomod) != "go.mod" {
		return "", errors.New("not inside a module")
	}
	return filepath.Dir(gomod), nil
}

func loadModule() (*module, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	list := exec.Command("go", "list", "-e",
		"-json=Dir,ImportPath,Name,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...")
	list.Dir = root
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, err
	}
	m := &module{Root: root, Fset: token.NewFileSet()}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var listed struct {
			Dir, ImportPath, Name                                        string
			GoFiles, CgoFiles, IgnoredGoFiles, TestGoFiles, XTestGoFiles []string
		}
		if err := decoder.Decode(&listed); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		p := goPackage{Dir: listed.Dir, Name: listed.Name}
		p.Path = strings.TrimPrefix(strings.TrimPrefix(listed.ImportPath, modulePath), "/")
		names := append(append(listed.GoFiles, listed.CgoFiles...), listed.IgnoredGoFiles...)
		names = append(append(names, listed.TestGoFiles...), listed.XTestGoFiles...)
		sort.Strings(names)
		for _, name := range names {
			f, err := parseFile(m.Fset, root, filepath.Join(listed.Dir, name))
			if err != nil {
				return nil, err
			}
			p.Files = append(p.Files, f)
		}
		m.Packages = append(m.Packages, p)
	}
	return m, nil
}

func parseFile(fset *token.FileSet, root, path string) (goFile, error) {
	name, err := filepath.Rel(root, path)
	if err != nil {
		return goFile{}, err
	}
	parsed, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		return goFile{}, err
	}
	return goFile{Name: filepath.ToSlash(name), IsTest: strings.HasSuffix(path, "_test.go"), AST: parsed}, nil
}

// where names a place as file:line, relative to the module.
func (m *module) where(pos token.Pos) string {
	p := m.Fset.Position(pos)
	if name, err := filepath.Rel(m.Root, p.Filename); err == nil {
		p.Filename = filepath.ToSlash(name)
	}
	p.Column = 0
	return p.String()
}

// planted makes a module of one package from source text, to see a rule complain.
func planted(t *testing.T, path, name, source string) *module {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, name, source, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	f := goFile{Name: name, IsTest: strings.HasSuffix(name, "_test.go"), AST: parsed}
	p := goPackage{Path: path, Name: parsed.Name.Name, Files: []goFile{f}}
	return &module{Fset: fset, Packages: []goPackage{p}}
}

// complain fails the test with each complaint.
func complain(t *testing.T, complaints []string) {
	t.Helper()
	for _, c := range complaints {
		t.Error(c)
	}
}

// expectComplaint fails unless some complaint holds all of the words.
func expectComplaint(t *testing.T, complaints []string, words ...string) {
	t.Helper()
search:
	for _, c := range complaints {
		for _, w := range words {
			if !strings.Contains(c, w) {
				continue search
			}
		}
		return
	}
	t.Errorf("no complaint with %q; got %q", words, complaints)
}
