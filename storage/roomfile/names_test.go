package roomfile

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

// The last name that is allowed, and the first that is not; the last byte of a range, and the one behind it.
func TestNamesAtTheirLimits(t *testing.T) {
	for name, want := range map[string]string{
		"/0": "%2f0", "9:": "9%3a", "@A": "%40+a", "Z[": "+z%5b", "`a": "%60a", "z{": "z%7b", "-.": "-%2e", "_": "_", "^": "%5e", ",": "%2c",
		"com0": "%63om0", "com9": "%63om9", "com": "com", "com:": "com%3a", "com10": "com10", "comx": "comx", "com/": "com%2f",
		"lpt1": "%6cpt1", "lpx1": "lpx1", "aux": "%61ux", "prn": "%70rn", "nul": "%6eul",
		strings.Repeat("x", 200): strings.Repeat("x", 200), "x": "x",
	} {
		if got, err := Escape(name); err != nil || got != want {
			t.Errorf("Escape(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	const hashed = keptEscaped + 1 + 64
	for n, want := range map[int]int{200: 200, 201: hashed, 256: hashed} {
		if got, err := Escape(strings.Repeat("x", n)); err != nil || len(got) != want {
			t.Errorf("%d bytes: %q, %v", n, got, err)
		}
	}
	for namespace, is := range map[string]bool{
		"a": true, "z": true, "0": true, "9": true, "-": true, "a-1": true, strings.Repeat("a", 64): true, "com1": true,
		"": false, "`": false, "{": false, "/": false, ":": false, "A": false, "_": false, ".": false, strings.Repeat("a", 65): false,
	} {
		path, err := Path("data", namespace, "room")
		if is != (err == nil) || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("namespace %q: %v", namespace, err)
		}
		dir := namespace
		if namespace == "com1" {
			dir = "com1_"
		}
		if parts := strings.Split(path, string(filepath.Separator)); is && (len(parts) != 4 || parts[1] != dir || len(parts[2]) != 2 || parts[3] != "room.db") {
			t.Errorf("namespace %q: %q", namespace, path)
		}
	}
	if _, err := Path("data", "n", ""); !errors.Is(err, ErrName) {
		t.Errorf("a room without a name: %v", err)
	}
}

// What the name of a file says of its room is the room's name, and a name that no room gives is none.
func TestFind(t *testing.T) {
	for escaped, want := range map[string]string{
		"a": "a", "+a": "A", "a+z": "aZ", "%00": "\x00", "a%2e": "a.", "%63on": "con", "%e2%82%ac": "€",
		"": "", "+": "", "a+": "", "%": "", "%2": "", "a%2": "", "%2g": "", "A": "", "a.": "", "%61": "", "+1": "", "con": "",
	} {
		path, err := Path("data", "n", want)
		if want == "" || err != nil {
			path = filepath.Join("data", "n", "00", escaped+".db")
		}
		got, is := Find("data", "n", filepath.Join(filepath.Dir(path), escaped+".db"))
		if is != (want != "") || is && got != (Found{path, want}) {
			t.Errorf("%q: %+v, %v", escaped, got, is)
		}
	}
	long := strings.Repeat("x", 120) + "~" + strings.Repeat("0", 64)
	for name, is := range map[string]bool{long: true, long + "0": false, long[1:]: false, strings.Replace(long, "~", "-", 1): false} {
		path := filepath.Join("data", "n", "00", name+".db")
		if got, found := Find("data", "n", path); found != is || is && got != (Found{Path: path}) {
			t.Errorf("%q: %+v, %v", name, got, found)
		}
	}
	if _, is := Find("data", "n", filepath.Join("data", "n", "00", "a")); is {
		t.Error("a file without the ending is a room's")
	}
}
