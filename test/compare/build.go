package main

// The two sides: where their sources are, and their test binaries.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A side is one of the two that are compared.
type side int

const (
	base side = iota
	head
	sides = 2
)

func (s side) String() string { return [...]string{"base", "head"}[s] }

// A source is where a side's files are.
type source struct {
	root   string
	commit string // its id and subject, for people
}

// A builtSide has test binaries, by package, with the benchmarks that each has.
type builtSide struct {
	source
	name       string
	binaries   map[string]string
	benchmarks map[string][]string
}

// has reports whether the side has a benchmark. Sub-benchmarks are only known when it runs.
func (s builtSide) has(b benchmark) bool {
	name, _, _ := strings.Cut(b.name, "/")
	return slices.Contains(s.benchmarks[b.pkg], "Benchmark"+name)
}

// shared is the package whose benchmarks both sides take from the head. It sees of Den only what is exported.
const shared = "test/bench"

// A workshop is a temporary directory with a worktree of the base and all that is built.
type workshop struct {
	dir        string
	base, head source
	notes      []string // what somebody must know who reads the result
	progress   io.Writer
}

// newWorkshop checks a commit out, of the repository that dir lies in. The caller closes it.
func newWorkshop(ctx context.Context, dir, commit string, progress io.Writer) (*workshop, error) {
	root, err := git(ctx, dir, "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, err
	}
	w := &workshop{head: source{root: root}, progress: progress}
	if w.head.commit, err = describe(ctx, root, "HEAD"); err != nil {
		return nil, err
	}
	if w.base.commit, err = describe(ctx, root, commit); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "den-compare-"); err != nil {
		return nil, err
	}
	w.base.root = filepath.Join(w.dir, "base")
	if _, err = git(ctx, root, "-c", "core.hooksPath="+os.DevNull, "worktree", "add", "--detach", w.base.root, commit); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// close takes the worktree and all that was built away.
func (w *workshop) close() {
	_, err := git(context.Background(), w.head.root, "worktree", "remove", "--force", w.base.root) // after an interrupt too
	if err = errors.Join(err, os.RemoveAll(w.dir)); err != nil {
		fmt.Fprintln(w.progress, "compare:", err)
	}
}

func describe(ctx context.Context, root, commit string) (string, error) {
	return git(ctx, root, "log", "-1", "--format=%h %s", commit, "--")
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	return command(ctx, dir, "git", args...)
}

// command gives what a command prints. Its error has what the command says is wrong.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, wrong.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// build makes the test binaries of both sides.
func (w *workshop) build(ctx context.Context, chosen []benchmark) (built [sides]builtSide, err error) {
	for s, from := range []source{base: w.base, head: w.head} {
		built[s] = builtSide{from, side(s).String(), map[string]string{}, map[string][]string{}}
	}
	same := true
	for _, b := range chosen {
		if _, done := built[head].binaries[b.pkg]; done {
			continue
		}
		fmt.Fprintln(w.progress, "building", b.pkg)
		if err := w.buildPackage(ctx, &built[head], b.pkg); err != nil {
			return built, err
		}
		if err := w.buildBase(ctx, &built[base], b.pkg); err != nil {
			return built, err
		}
		identical, err := sameFile(built[base].binaries[b.pkg], built[head].binaries[b.pkg])
		if err != nil {
			return built, err
		}
		same = same && identical
	}
	if same {
		w.notes = append(w.notes, "both sides are the same program, byte for byte: any difference is noise")
	}
	return built, nil
}

// buildBase is buildPackage for the base. A package that the base does not have has no benchmarks.
func (w *workshop) buildBase(ctx context.Context, s *builtSide, pkg string) error {
	if pkg == shared {
		return w.buildShared(ctx, s, pkg)
	}
	if _, err := os.Stat(filepath.Join(s.root, pkg)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return w.buildPackage(ctx, s, pkg)
}

// buildShared builds the base with the head's benchmarks if that compiles, else with its own.
func (w *workshop) buildShared(ctx context.Context, s *builtSide, pkg string) error {
	dir := filepath.Join(s.root, pkg)
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(filepath.Join(w.head.root, pkg)))
	}
	if err != nil {
		return err
	}
	if err = w.buildPackage(ctx, s, pkg); err == nil || ctx.Err() != nil {
		return err
	}
	w.notes = append(w.notes, fmt.Sprintf("each side has its own %s, because the head's does not compile at the base: %s", pkg, firstError(err)))
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if _, err := git(ctx, s.root, "checkout", "--", pkg); err != nil {
		return nil // it has none
	}
	return w.buildPackage(ctx, s, pkg)
}

// firstError is the first line of the compiler that names a place.
func firstError(err error) string {
	for line := range strings.Lines(err.Error()) {
		if strings.Contains(line, ".go:") {
			return strings.TrimSpace(line)
		}
	}
	return err.Error()
}

// buildPackage builds a package's test binary, without the paths of this machine, so that the same sources make the
// same file.
func (w *workshop) buildPackage(ctx context.Context, s *builtSide, pkg string) error {
	binary := filepath.Join(w.dir, s.name+"-"+strings.ReplaceAll(pkg, "/", "-")+".test")
	if _, err := command(ctx, s.root, "go", "test", "-c", "-trimpath", "-o", binary, "./"+pkg); err != nil {
		return err
	}
	list, err := command(ctx, filepath.Join(s.root, pkg), binary, "-test.list=^Benchmark")
	if err != nil {
		return err
	}
	s.binaries[pkg], s.benchmarks[pkg] = binary, strings.Fields(list)
	return nil
}

func sameFile(a, b string) (bool, error) {
	if a == "" || b == "" {
		return false, nil
	}
	first, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	second, err := os.ReadFile(b)
	return bytes.Equal(first, second), err
}

// present are the benchmarks that both sides have.
func present(chosen []benchmark, built [sides]builtSide) (both []benchmark) {
	for _, b := range chosen {
		if built[base].has(b) && built[head].has(b) {
			both = append(both, b)
		}
	}
	return both
}

// absent are results for those that one side does not have. One that is new cannot be compared; one that the head does
// not have is a list that is wrong.
func absent(chosen []benchmark, built [sides]builtSide) (none []result) {
	for _, b := range chosen {
		switch {
		case !built[head].has(b):
			none = append(none, result{benchmark: b, broken: head, err: fmt.Errorf("the head has no Benchmark%s: take it out of list.go", b.name)})
		case !built[base].has(b):
			none = append(none, result{benchmark: b, broken: base, err: fmt.Errorf("the base has no Benchmark%s", b.name)})
		}
	}
	return none
}
