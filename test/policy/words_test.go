package policy

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// forbidden are words that belong to somebody's machine and not to the project. The patterns are put together from
// pieces, so that this file does not hold what it forbids.
var forbidden = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{
		regexp.MustCompile(`(^|[^a-zA-Z0-9._/-])/(` + `work|farm|root|home/[a-z]+|Users/[A-Za-z]+)` + `/`),
		"an absolute path of one machine: write it relative to the project, or take it from a flag",
	},
	{
		regexp.MustCompile(`(?i)(proxy|sum)\.golang` + `\.org|registry\.(npmjs|yarnpkg)` + `\.(org|com)|(deb|security)\.debian` + `\.org|pypi` + `\.org`),
		"the address of a package registry: which one is used is the machine's setting (for package-lock.json: omit-lockfile-registry-resolved)",
	},
}

func TestForbiddenWords(t *testing.T) {
	m := load(t)
	files, err := projectFiles(m.Root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files found: the rule would hold of nothing", len(files))
	}
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(m.Root, name))
		if err != nil {
			continue // deleted but still tracked
		}
		complain(t, wordComplaints(name, content))
	}
}

func TestForbiddenWordsSeesThem(t *testing.T) {
	home, registry := "/ho"+"me/ann/den", "https://registry.npm"+"js.org/x"
	complaints := wordComplaints("a.txt", []byte("fine\ndata in "+home+"\n\"resolved\": \""+registry+"\"\n"))
	expectComplaint(t, complaints, "a.txt:2", "absolute path")
	expectComplaint(t, complaints, "a.txt:3", "registry")
	complain(t, wordComplaints("a.txt", []byte("see https://example.com/home/x/ and ./work/x, /workshop/\n")))
}

func wordComplaints(name string, content []byte) []string {
	if !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0 {
		return nil // not text
	}
	var complaints []string
	for i, line := range strings.Split(string(content), "\n") {
		for _, f := range forbidden {
			if found := f.pattern.FindString(line); found != "" {
				complaints = append(complaints, fmt.Sprintf("%s:%d: %q is %s", name, i+1, found, f.why))
			}
		}
	}
	return complaints
}

// projectFiles are the files that git has or would take; without git, all that is not obviously made by a tool.
func projectFiles(root string) ([]string, error) {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	if out, err := list.Output(); err == nil {
		return strings.Split(strings.Trim(string(out), "\x00"), "\x00"), nil
	}
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && (name == "node_modules" || name == "data" || name == ".git" || name == ".bin"):
			return filepath.SkipDir
		case d.Type().IsRegular():
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			files = append(files, filepath.ToSlash(rel))
		}
		return nil
	})
	return files, err
}
