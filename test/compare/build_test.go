package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A repository has two commits of a small module; the working tree may have more.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	r := &repository{t, t.TempDir()}
	r.git("init", "-q")
	r.write("go.mod", "module example.com/small\n\ngo 1.26\n")
	r.write("work.go", "package small\n\nfunc Work() int { return 1 }\n")
	r.write("work_test.go", "package small\n\nimport \"testing\"\n\nfunc BenchmarkOwn(b *testing.B) {\n\tfor b.Loop() {\n\t\tWork()\n\t}\n}\n")
	r.write("test/bench/a_test.go", "package bench\n\nimport (\n\t\"testing\"\n\n\t\"example.com/small\"\n)\n\nfunc BenchmarkOld(b *testing.B) {\n\tfor b.Loop() {\n\t\tsmall.Work()\n\t}\n}\n")
	r.commit("first")
	return r
}

func (r *repository) git(args ...string) {
	r.t.Helper()
	args = append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=" + os.DevNull}, args...)
	if _, err := git(r.t.Context(), r.dir, args...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *repository) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *repository) commit(subject string) {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "-m", subject)
}

// build builds both sides, and takes them away when the test ends.
func (r *repository) build(commit string, chosen ...benchmark) (*workshop, [sides]builtSide) {
	r.t.Helper()
	w, err := newWorkshop(r.t.Context(), r.dir, commit, io.Discard)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(w.close)
	built, err := w.build(r.t.Context(), chosen)
	if err != nil {
		r.t.Fatal(err)
	}
	return w, built
}

// TestBuild builds real commits: a benchmark of test/bench that the base lacks comes from the head, unless that does not
// compile there; what is not committed is the head's; a benchmark inside another package is each side's own.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("a dozen test binaries are built")
	}
	r := newRepository(t)
	ofOld, ofNew, ofOwn := benchmark{name: "Old", pkg: shared, times: 3}, benchmark{name: "New", pkg: shared, times: 3}, benchmark{name: "Own", pkg: ".", times: 3}
	fresh := benchmark{name: "Fresh", pkg: ".", times: 3}
	w, built := r.build("HEAD", ofOld)
	if len(present([]benchmark{ofOld}, built)) != 1 || !strings.Contains(strings.Join(w.notes, "\n"), "byte for byte") {
		t.Errorf("HEAD with HEAD: %+v, %q", built, w.notes)
	}

	r.write("test/bench/b_test.go", "package bench\n\nimport \"testing\"\n\nfunc BenchmarkNew(b *testing.B) {\n\tfor b.Loop() {\n\t}\n}\n")
	r.write("fresh_test.go", "package small\n\nimport \"testing\"\n\nfunc BenchmarkFresh(b *testing.B) {\n\tfor b.Loop() {\n\t}\n}\n")
	all := []benchmark{ofOld, ofNew, ofOwn, fresh}
	w, built = r.build("HEAD", all...)
	if both := present(all, built); len(both) != 3 || len(w.notes) > 0 {
		t.Errorf("a new benchmark: %v compared, %q", both, w.notes)
	}
	if none := absent(all, built); len(none) != 1 || none[0].benchmark.name != "Fresh" || anyLoss(none) {
		t.Errorf("a new benchmark: not compared %v", none)
	}
	m, err := newMeter(t.Context(), w.dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	result, err := m.run(t.Context(), built[base], ofNew)
	if err != nil || result["ns/op"] <= 0 {
		t.Errorf("a run: %v, %v", result, err)
	}

	r.write("more.go", "package small\n\nfunc More() {}\n")
	r.write("test/bench/b_test.go", "package bench\n\nimport (\n\t\"testing\"\n\n\t\"example.com/small\"\n)\n\nfunc BenchmarkNew(b *testing.B) {\n\tfor b.Loop() {\n\t\tsmall.More()\n\t}\n}\n")
	w, built = r.build("HEAD", ofOld, ofNew)
	if both := present([]benchmark{ofOld, ofNew}, built); len(both) != 1 || !strings.Contains(strings.Join(w.notes, "\n"), "does not compile at the base: test/bench/b_test.go") {
		t.Errorf("a benchmark that the base cannot have: %v compared, %q", both, w.notes)
	}

	gone := benchmark{name: "Gone", pkg: shared, times: 1}
	if none := absent([]benchmark{gone}, built); len(none) != 1 || !anyLoss(none) {
		t.Errorf("a benchmark that the head does not have is no loss: %v", none)
	}
}

// TestWorkshopLeavesNothing: neither a worktree nor a file, with a base that is not there too.
func TestWorkshopLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := newRepository(t)
	w, err := newWorkshop(t.Context(), r.dir, "HEAD", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(w.base.root, "work.go")); err != nil {
		t.Error(err)
	}
	w.close()
	if _, err := newWorkshop(t.Context(), r.dir, "no-such-commit", io.Discard); err == nil {
		t.Error("a commit that does not exist is taken")
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "den-compare-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	list, err := git(context.Background(), r.dir, "worktree", "list")
	if err != nil || strings.Count(list, "\n") > 0 {
		t.Errorf("worktrees:\n%s\n%v", list, err)
	}
}
