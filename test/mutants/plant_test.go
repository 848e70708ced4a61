package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// program has a function of each form in which a copy has to be called.
const program = `package main

type pair[T any] struct{ a, b T }

func (p *pair[T]) swap() { p.a, p.b = p.b, p.a }

func (pair[T]) size() int { return 2 }

func count[T comparable, U any](t T, _ U, more ...T) (n int) {
	defer func() { n *= 10 }()
	for i := range more {
		if more[i] == t {
			continue
		}
		n += 1
	}
	return n
}

func lost(string, int) (err error) {
	defer func() { err, _ = recover().(error) }()
	println([]int{}[0])
	return err
}

func contained() (text string) {
	defer contain(&text)
	panic("no")
}

func contain(text *string) {
	if v := recover(); v != nil {
		*text = "recovered " + v.(string)
	}
}

func unused() {
	k := 2
	println(k)
}

var steps = 0

var step = func() {
	if steps++; steps > 100 {
		panic("endless")
	}
}

func search(n int) int {
	for {
		step()
		if n > 5 {
			return n
		}
		n++
		continue
	}
}

var before = (pair[int]{}).size()

func init() { before += 5 }

func main() {
	p := &pair[string]{"a", "b"}
	p.swap()
	println(before, p.a, p.size(), count(1, "", 1, 2, 3), lost("", 0) != nil, search(2))
	println(contained())
	unused()
}
`

// TestPlant plants all changes of a program at once. Each one that is switched on does what the program does that has it alone,
// and those are refused that do not compile alone.
func TestPlant(t *testing.T) {
	dir, bins := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(dir, "p", "main.go")
	all, err := find(source, []byte(program))
	if err != nil {
		t.Fatal(err)
	}
	write("go.mod", "module p\n\ngo 1.26\n")
	write("p/main.go", program)
	for i, m := range all {
		write(fmt.Sprintf("p%d/main.go", i), string(m.apply([]byte(program))))
	}
	_, _ = command(t.Context(), dir, "", "go", "build", "-ldflags=-s -w", "-o", bins, "./...") // what does not compile fails
	var good []mutant
	runs := []string{"p"}
	want := make(map[int]bool)
	for i, m := range all {
		name := "p" + strconv.Itoa(i)
		if _, err := os.Stat(filepath.Join(bins, name)); err != nil {
			want[i+1] = true
			continue
		}
		good, runs = append(good, m), append(runs, name)
	}
	planted := filepath.Join(bins, "planted")
	build := func(sample []mutant) string {
		overlay, err := plant(bins, filepath.Dir(source), sample)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := command(t.Context(), dir, "", "go", "build", "-gcflags=-e", "-overlay", overlay, "-o", planted, "./p")
		return said
	}
	if said := build(all); len(want) != 3 || !maps.Equal(refused(bins, said), want) {
		t.Errorf("%v do not compile alone, want 3; together the compiler says\n%s", want, said)
	}
	if said := build(good); said != "" {
		t.Fatal(said)
	}
	for i, name := range runs {
		alone, _ := command(t.Context(), dir, "", filepath.Join(bins, name))
		got, _ := command(t.Context(), dir, switchedOn+"="+strconv.Itoa(i), planted)
		alone, _, _ = strings.Cut(alone, "\ngoroutine ")
		got, _, _ = strings.Cut(got, "\ngoroutine ")
		if got != alone {
			t.Errorf("%d: got %s, want %s", i, got, alone)
		}
	}
}
