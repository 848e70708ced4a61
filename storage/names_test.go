package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for name, want := range map[string]string{
		"lobby":      "lobby",
		"Lobby":      "+lobby",
		"a b":        "a%20b",
		"..":         "%2e%2e",
		"../../etc":  "%2e%2e%2f%2e%2e%2fetc",
		"a\x00b":     "a%00b",
		"con":        "%63on",
		"CON":        "+c+o+n",
		"com1":       "%63om1",
		"com1.txt":   "com1%2etxt",
		"console":    "console",
		"x.":         "x%2e",
		"é":          "%c3%a9",  // one code point
		"e\u0301":    "e%cc%81", // the same letter in two
		"%2e":        "%252e",
		"+a":         "%2ba",
		"~":          "%7e",
		"-rf":        "-rf",
		`C:\windows`: "+c%3a%5cwindows",
	} {
		got, err := Escape(name)
		if err != nil || got != want {
			t.Errorf("Escape(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 257), "\xff", "a\xc3"} {
		_, err := Escape(name)
		wantError(t, err, ErrName)
	}
}

func TestEscapeLong(t *testing.T) {
	seen := map[string]string{}
	for i := range 59 {
		for _, name := range []string{strings.Repeat("x", 190+i), strings.Repeat("é", 20+i), strings.Repeat("X", 197+i) + "y", strings.Repeat("X", 197+i) + "z"} {
			got, err := Escape(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) > maxEscaped {
				t.Errorf("%d bytes for %q", len(got), name)
			}
			if other, ok := seen[got]; ok && other != name {
				t.Errorf("%q and %q are both %q", name, other, got)
			}
			seen[got] = name
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a", "A")
	f.Add("a/b", "a%2fb")
	f.Add("con", "%63on")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err := Escape(a)
		if (err != nil) != (a == "" || len(a) > maxName || !utf8.ValidString(a)) {
			t.Fatalf("Escape(%q): %v", a, err)
		}
		if err != nil {
			return
		}
		if strings.Trim(x, "abcdefghijklmnopqrstuvwxyz0123456789-_+%~") != "" || len(x) > maxEscaped {
			t.Errorf("Escape(%q) = %q", a, x)
		}
		if y, err := Escape(b); err == nil && a != b && strings.EqualFold(x, y) {
			t.Errorf("%q and %q are both %q", a, b, x)
		}
	})
}

func TestPath(t *testing.T) {
	got, err := Path("data", "todos", "lobby")
	if want := filepath.Join("data", "todos", "80", "lobby.db"); err != nil || len(got) != len(want) || filepath.Base(got) != "lobby.db" {
		t.Errorf("Path = %q, %v", got, err)
	}
	for _, ns := range []string{"", "Todos", "a/b", "..", "a_b", strings.Repeat("a", 65)} {
		if _, err := Path("data", ns, "x"); !errors.Is(err, ErrName) {
			t.Errorf("namespace %q: %v", ns, err)
		}
	}
	con, err := Path("data", "con", "x")
	if err != nil || !strings.Contains(con, fmt.Sprintf("%ccon_%[1]c", filepath.Separator)) {
		t.Errorf("a device as a namespace: %q, %v", con, err)
	}
}

// TestRoomsWithAnyName: a room under a strange name can be opened and keeps it.
func TestRoomsWithAnyName(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"..", "a/../b", "nul", "\x00", strings.Repeat("Ü", 128), "tab\t", "'; DROP TABLE x"} {
		o := Options{Namespace: "rooms", Room: name, Synchronous: Off}
		var err error
		if o.Path, err = Path(dir, o.Namespace, name); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			d, err := Open(o)
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
		o.Room += "2"
		_, err = Open(o)
		wantError(t, err, ErrWrongRoom)
	}
}
