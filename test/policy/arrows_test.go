package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// An arrow lets the packages of one group import those of another, for a reason.
type arrow struct{ from, to, reason string }

// groups are the stations of the picture in docs/DESIGN.md. A package belongs to the longest name that its path
// starts with, so storage/internal/x belongs to storage. Packages of one group may import each other.
var groups = []string{
	"actor", "storage", "storage/vfs", "storage/commitlog", "storage/commitlog/segment", "storage/pagelog", "storage/roomfile", "storage/archive", "storage/dump", "storage/pool", "storage/faultdisk", "storage/internal/cmem", "storage/sqlite", "storage/dbfile", "storage/changes", "syncproto", "hibernate", "hibernate/alarm", "room", "room/roomtest", "transport", "fixtures", "cmd/den", "client", "internal/bug", "internal/inner", "test",
}

// arrows is the whole picture: what is not here is not allowed. They go one way; a cycle cannot be written down
// because Go refuses it, and a shortcut past a station can, so it is refused here.
var arrows = []arrow{
	{"cmd/den", "fixtures", "the command serves the example rooms"},
	{"cmd/den", "transport", "the command puts the handler on a listener"},
	{"cmd/den", "room", "the command opens the host and registers namespaces"},
	{"fixtures", "transport", "an example shows how a room is served"},
	{"fixtures", "room", "an example is a room"},
	{"transport", "room", "a frame is handed to the room's session"},
	{"transport", "hibernate", "a socket is the link of a connection that outlives the room's life"},
	{"transport", "syncproto", "refusals are written in the wire's own frames and codes"},
	{"room/roomtest", "room", "the test kit runs the real room"},
	{"room", "actor", "a room's life is an actor's"},
	{"room", "storage", "a room owns one database"},
	{"room", "storage/archive", "a room is backed up and restored"},
	{"room", "storage/dump", "a room is exported and imported as text"},
	{"room", "storage/roomfile", "a room's file is found by the room's name"},
	{"room", "hibernate", "a room's connections are kept where they outlive it"},
	{"room", "hibernate/alarm", "a sleeping room is woken at the times that it has set"},
	{"room", "syncproto", "what a room reads and sends is in the wire's frames"},
	{"hibernate", "syncproto", "presence is sent from where the connections are, with no room awake"},
	{"hibernate/alarm", "storage", "the index of alarms is a database like a room's"},
	{"storage", "storage/vfs", "storage reaches files through an interface, so that a disk can lose power under it"},
	{"storage", "storage/commitlog", "a room's commits are durable in the node's log"},
	{"storage", "storage/pagelog", "an entry of the log holds what a transaction did to the file's pages"},
	{"storage", "storage/roomfile", "a database is in a room's file, and another file may take its place"},
	{"storage/roomfile", "storage/vfs", "a room's file is on a file system"},
	{"storage/roomfile", "storage/sqlite", "an error of SQLite's says what is wrong with the file"},
	{"storage/roomfile", "internal/bug", "the simulation switches deliberate bugs on, to show that it finds them"},
	{"storage/roomfile", "storage/dbfile", "a file that is no open room's is read and given its identity"},
	{"storage/archive", "storage", "a backup is a copy of a room that goes on, and a restore opens the room that it replaces"},
	{"storage/archive", "storage/roomfile", "a restored file takes the place of the room's"},
	{"storage/archive", "storage/sqlite", "what a backup says of itself is rows of its tables"},
	{"storage/archive", "storage/dbfile", "the source of a restore is locked while it is copied"},
	{"storage/archive", "internal/bug", "the simulation switches deliberate bugs on, to show that it finds them"},
	{"storage/dump", "storage/archive", "an import takes a room's place as a restore does"},
	{"storage/dump", "storage", "an export is read from a room's file, and an import fills one"},
	{"storage/dump", "storage/sqlite", "a row that an export writes is in the form in which SQLite gave it"},
	{"storage/pagelog", "storage/vfs", "a history leads through files that were replaced"},
	{"storage/commitlog", "storage/vfs", "the log lies in files"},
	{"storage/commitlog", "storage/commitlog/segment", "the log's files are segments"},
	{"storage/commitlog/segment", "storage/vfs", "a segment is a file"},
	{"storage/faultdisk", "storage/vfs", "the disk that loses power is a file system"},
	{"storage", "storage/sqlite", "a room's database is SQLite's"},
	{"storage", "storage/changes", "the changes of a room's synced tables are recorded, and kept in a log"},
	{"storage/changes", "storage/sqlite", "changes are recorded by SQLite's pre-update hook, and logged in the same database"},
	{"storage/changes", "internal/bug", "the simulation switches deliberate bugs on, to show that it finds them"},
	{"storage/sqlite", "storage/internal/cmem", "SQLite's results are in memory that Go does not manage"},
	{"storage/faultdisk", "storage/dbfile", "the disk that loses power is a VFS of SQLite's"},
	{"storage", "storage/dbfile", "a connection's files are exchanged beneath it, and its WAL has the commit log in front of it"},
	{"storage", "storage/pool", "a room's connection serves the next room"},
	{"storage/pool", "storage/dbfile", "a pooled connection gets another database's files"},
	{"storage/pool", "storage/sqlite", "a pooled connection is SQLite's"},
	{"storage/pool", "storage/vfs", "a pooled connection takes its WAL file along"},
	{"storage/dbfile", "storage/vfs", "SQLite's files are those of a file system"},
	{"storage/dbfile", "storage/sqlite", "a connection's files are found, and exchanged, beneath it"},
	{"storage/dbfile", "storage/internal/cmem", "SQLite's files are in memory that Go does not manage"},
	{"storage", "internal/bug", "the simulation switches deliberate bugs on, to show that it finds them"},
	{"room", "internal/bug", "the simulation switches deliberate bugs on, to show that it finds them"},
	{"room", "internal/inner", "a host does for Den's own packages what is not for its users"},
	{"room/roomtest", "internal/inner", "the test kit waits for the rooms"},
	{"transport", "internal/inner", "a pong tells the room what its client has"},
	{"cmd/den", "internal/inner", "an export goes by a temporary file in the data directory"},
	{"internal/inner", "actor", "a room's key, and who schedules the runs of actors"},
	{"client", "syncproto", "a client speaks the same frames"},
	{"test", "actor", "tests of the whole may look anywhere"},
	{"test", "internal/inner", "tests of the whole may look anywhere"},
	{"test", "internal/bug", "the simulation switches deliberate bugs on"},
	{"test", "storage", "tests of the whole may look anywhere"},
	{"test", "syncproto", "tests of the whole may look anywhere"},
	{"test", "hibernate", "tests of the whole may look anywhere"},
	{"test", "room", "tests of the whole may look anywhere"},
	{"test", "room/roomtest", "tests of the whole may look anywhere"},
	{"test", "transport", "tests of the whole may look anywhere"},
	{"test", "fixtures", "tests of the whole may look anywhere"},
	{"test", "client", "tests of the whole may look anywhere"},
}

// testArrows are allowed to _test.go files besides.
var testArrows = []arrow{
	{"storage", "storage/faultdisk", "what a power cut leaves is tried on a disk in memory"},
	{"storage", "storage/archive", "what a failing disk does to a backup is tried with all else that is done with a room"},
	{"storage/archive", "storage/vfs", "a file of a test is the machine's"},
	{"storage/faultdisk", "storage/sqlite", "a database on the disk that loses power"},
	{"storage/faultdisk", "storage/internal/cmem", "a file of SQLite's on the disk that loses power"},
	{"storage/commitlog", "storage/faultdisk", "what a power cut leaves is tried on a disk in memory"},
	{"storage/commitlog/segment", "storage/faultdisk", "a segment of a test is on a disk in memory"},
	{"test", "storage/commitlog", "tests of the whole may look anywhere"},
	{"test", "storage/dbfile", "tests of the whole may look anywhere"},
	{"test", "storage/dump", "tests of the whole may look anywhere"},
	{"test", "storage/roomfile", "tests of the whole may look anywhere"},
	{"test", "storage/vfs", "tests of the whole may look anywhere"},
	{"test", "storage/faultdisk", "what a power cut leaves is tried on a disk in memory"},
	{"room", "storage/faultdisk", "what a room does when the disk fails is tried on a disk in memory"},
	{"room", "storage/vfs", "a disk of the test's own that makes the code above it panic"},
	{"cmd/den", "room/roomtest", "the command's test owns the clock"},
	{"room", "room/roomtest", "a room is tested with the kit that its users get"},
	{"transport", "room/roomtest", "the kit's clock and hosts serve the transport's tests too"},
	{"fixtures", "room/roomtest", "an example shows how a room is tested"},
	{"cmd/den", "storage", "the command's test tells a directory that is in use by its error"},
	{"fixtures", "hibernate", "an example's test reads what a connection was sent"},
	{"fixtures", "syncproto", "an example's test reads frames"},
}

// A library is a module from outside. Each one is hidden by the groups that may import it, so that it can be
// replaced there and nowhere else.
type library struct {
	path, reason string
	groups       []string // may import it
	testGroups   []string // may import it in _test.go files; "*" is everybody
}

var libraries = []library{
	{"github.com/asynkron/protoactor-go", "actor hides the actor library", []string{"actor"}, nil},
	{"modernc.org", "the connection and its files hide SQLite", []string{"storage/sqlite", "storage/dbfile", "storage/internal/cmem"}, []string{"storage", "storage/faultdisk", "test"}},
	{"github.com/gofrs/flock", "storage locks the data directory", []string{"storage"}, nil},
	{"github.com/coder/websocket", "transport hides the WebSocket library", []string{"transport", "client", "test"}, nil},
	{"github.com/google/uuid", "connection ids and the like", []string{"room", "transport", "hibernate", "storage", "client", "test"}, nil},
	{"github.com/netresearch/go-cron", "cron expressions of alarms", []string{"room"}, nil},
	{"github.com/anishathalye/porcupine", "histories are checked for linearizability", nil, []string{"test"}},
	{"golang.org/x/sys", "transport asks the kernel what has left for a socket", []string{"transport"}, nil},
	{"golang.org/x/image", "the soak draws its picture", []string{"test"}, nil},
	{"go.uber.org/goleak", "a test fails on a leaked goroutine", nil, []string{"*"}},
}

func TestArrows(t *testing.T) {
	m := load(t)
	complain(t, arrowComplaints(m))
}

func TestArrowsSeesANewArrow(t *testing.T) {
	for _, c := range []struct{ path, file, imported, want string }{
		{"storage", "a.go", modulePath + "/room", "storage → room"},
		{"transport", "a.go", modulePath + "/storage", "transport → storage"},
		{"hibernate", "a.go", modulePath + "/storage", "hibernate → storage"},
		{"storage/internal/deep", "a.go", modulePath + "/room/roomtest", "storage → room/roomtest"},
		{"room", "a.go", modulePath + "/room/roomtest", "room → room/roomtest"},
		{"room", "a.go", modulePath + "/test/crash", "room → test"},
		{"room", "a.go", "modernc.org/sqlite/lib", "hide SQLite"},
		{"storage", "a.go", "modernc.org/sqlite/lib", "hide SQLite"},
		{"fixtures/todo", "a_test.go", "github.com/coder/websocket", "transport hides"},
		{"room", "a.go", "go.uber.org/goleak", "leaked goroutine"},
		{"room", "a.go", "example.com/new", "no library of Den's"},
		{"elsewhere", "a.go", "fmt", "has no place"},
	} {
		m := planted(t, c.path, c.file, "package p\nimport _ "+strconv.Quote(c.imported)+"\n")
		expectComplaint(t, arrowComplaints(m), c.want, c.path)
	}
	for _, c := range []struct{ path, file, imported string }{
		{"room", "a_test.go", modulePath + "/room/roomtest"},
		{"transport", "a.go", modulePath + "/room"},
		{"storage/dbfile", "a.go", "modernc.org/sqlite/lib"},
		{"storage", "a_test.go", "modernc.org/sqlite"},
		{"room", "a_test.go", "go.uber.org/goleak"},
		{"test/crash", "a_test.go", "github.com/coder/websocket"},
	} {
		m := planted(t, c.path, c.file, "package p\nimport _ "+strconv.Quote(c.imported)+"\n")
		complain(t, arrowComplaints(m))
	}
}

// TestArrowsAreDocumented: the picture in docs/DESIGN.md and the table here are the same.
func TestArrowsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(load(t).Root, "docs", "DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	drawn := drawnArrows(string(page))
	if len(drawn) < 10 {
		t.Errorf("only %d arrows found in docs/DESIGN.md: %v", len(drawn), drawn)
	}
	for _, a := range arrows {
		if name := a.from + " → " + a.to; a.from != "test" && !drawn[name] {
			t.Errorf("docs/DESIGN.md does not draw the arrow %s (%s)", name, a.reason)
		} else {
			delete(drawn, name)
		}
	}
	for name := range drawn {
		t.Errorf("docs/DESIGN.md draws the arrow %s, which is not allowed here", name)
	}
}

var drawnLine = regexp.MustCompile(`(?m)^    ([a-z/, ]+?) +→ ([a-z/]+(?:, [a-z/]+)*)(?:   |$)`)

func drawnArrows(page string) map[string]bool {
	drawn := map[string]bool{}
	for _, line := range drawnLine.FindAllStringSubmatch(page, -1) {
		for _, from := range strings.Split(line[1], ", ") {
			for _, to := range strings.Split(line[2], ", ") {
				if to != "anything" {
					drawn[from+" → "+to] = true
				}
			}
		}
	}
	return drawn
}

func arrowComplaints(m *module) []string {
	var complaints []string
	for _, p := range m.Packages {
		from, known := groupOf(p.Path)
		if !known {
			complaints = append(complaints, fmt.Sprintf("package %s has no place in the picture: give it one in docs/DESIGN.md and in this table", p.Path))
			continue
		}
		for _, f := range p.Files {
			for _, spec := range f.AST.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					continue
				}
				if why := importComplaint(from, path, f.IsTest); why != "" {
					complaints = append(complaints, fmt.Sprintf("%s (package %s): %s", m.where(spec.Pos()), p.Path, why))
				}
			}
		}
	}
	return complaints
}

// importComplaint says why a group may not import a path, or nothing where it may.
func importComplaint(from, path string, inTest bool) string {
	if path == modulePath || strings.HasPrefix(path, modulePath+"/") {
		to, known := groupOf(strings.TrimPrefix(strings.TrimPrefix(path, modulePath), "/"))
		if !known {
			return fmt.Sprintf("imports %s, which has no place in the picture", path)
		}
		if from == to || hasArrow(arrows, from, to) || inTest && hasArrow(testArrows, from, to) {
			return ""
		}
		return fmt.Sprintf("new arrow %s → %s (imports %s). %s", from, to, path, allowedFrom(from, inTest))
	}
	if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	for _, l := range libraries {
		if path != l.path && !strings.HasPrefix(path, l.path+"/") {
			continue
		}
		if contains(l.groups, from) || inTest && contains(l.testGroups, from) {
			return ""
		}
		return fmt.Sprintf("%s may not import %s: %s. Go through that package", from, path, l.reason)
	}
	return fmt.Sprintf("%s is no library of Den's: name it in this table, with its reason and who may import it", path)
}

// allowedFrom lists a group's arrows with their reasons, for the message of a failure.
func allowedFrom(from string, inTest bool) string {
	all := arrows
	if inTest {
		all = append(append([]arrow(nil), arrows...), testArrows...)
	}
	var lines []string
	for _, a := range all {
		if a.from == from {
			lines = append(lines, fmt.Sprintf("%s (%s)", a.to, a.reason))
		}
	}
	if len(lines) == 0 {
		return from + " imports none of ours, so that it can be understood, tested and replaced alone"
	}
	return from + " may import: " + strings.Join(lines, "; ")
}

// groupOf finds the group of a package's path: the longest that it starts with.
func groupOf(path string) (group string, known bool) {
	for _, g := range groups {
		if (path == g || strings.HasPrefix(path, g+"/")) && len(g) > len(group) {
			group = g
		}
	}
	return group, group != ""
}

func hasArrow(arrows []arrow, from, to string) bool {
	for _, a := range arrows {
		if a.from == from && a.to == to {
			return true
		}
	}
	return false
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name || n == "*" {
			return true
		}
	}
	return false
}
