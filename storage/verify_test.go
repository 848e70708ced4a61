package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/roomfile"
)

// verified is what a Verifier said.
type verified struct {
	Verified
	found []Finding
}

// problems are the checks that found one, each once.
func (v verified) problems() []string {
	var checks []string
	for _, f := range v.found {
		if f.Severity == Problem {
			checks = append(checks, f.Check)
		}
	}
	slices.Sort(checks)
	return slices.Compact(checks)
}

// of are the rooms of which there is a problem, each once; "" where it is of none.
func (v verified) of() []string {
	var rooms []string
	for _, f := range v.found {
		if f.Severity == Problem {
			rooms = append(rooms, f.Room)
		}
	}
	slices.Sort(rooms)
	return slices.Compact(rooms)
}

func (v verified) String() string {
	var lines []string
	for _, f := range v.found {
		lines = append(lines, f.String())
	}
	return strings.Join(lines, "\n")
}

// verify runs a Verifier, and checks that it leaves everything as it was.
func verify(t testing.TB, o VerifyOptions, snapshot func() map[string]string, do func(*Verifier)) (found verified) {
	t.Helper()
	before := snapshot()
	o.Report = func(f Finding) { found.found = append(found.found, f) }
	v, err := NewVerifier(o)
	if err != nil {
		t.Fatal(err)
	}
	do(v)
	if found.Verified, err = v.Close(); err != nil {
		t.Fatal(err)
	}
	after := snapshot()
	for name, content := range before {
		if after[name] != content {
			t.Errorf("%s was changed", name)
		}
		delete(after, name)
	}
	for name := range after {
		t.Errorf("%s was made", name)
	}
	return found
}

// files gives the content of all files under a directory.
func files(t testing.TB, dir string) func() map[string]string {
	return func() map[string]string {
		t.Helper()
		all := make(map[string]string)
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			all[path] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
}

// onDiskFiles is files of a disk in memory.
func onDiskFiles(t testing.TB, disk *faultdisk.Disk) func() map[string]string {
	return func() map[string]string {
		t.Helper()
		all := make(map[string]string)
		for _, name := range disk.Files() {
			b, err := disk.Read(name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(b)
		}
		return all
	}
}

// A street is a data directory with rooms, as a process that was killed has left it.
type street struct {
	t   testing.TB
	dir string
}

const (
	clean = "closed well"
	inUse = "in use"
	young = "in the log only"
)

// newStreet makes one.
func newStreet(t testing.TB) *street {
	t.Helper()
	s := &street{t: t, dir: t.TempDir()}
	work := t.TempDir()
	log, err := OpenLog(LogOptions{Dir: filepath.Join(work, "_log"), History: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{t: t, dir: work, log: log, pool: new(Pool)}
	defer b.pool.Close()
	all := b.build()
	for name, content := range files(t, work)() {
		to := filepath.Join(s.dir, strings.TrimPrefix(name, work))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o750), os.WriteFile(to, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range all {
		b.close(d)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// builder makes the rooms of a street.
type builder struct {
	t    testing.TB
	dir  string
	log  *NodeLog
	pool *Pool
}

// build makes the rooms, and gives those that are open at the end.
func (b *builder) build() (opened []*DB) {
	b.t.Helper()
	for _, name := range []string{clean, inUse} {
		d := b.open(name)
		b.insert(d, 1, 20)
		b.close(d)
	}
	d := b.open(clean)
	b.insert(d, 21, 40)
	actSQL(b.t, d, 50, "DELETE FROM todos WHERE id < 5")
	b.close(d)
	for _, name := range []string{inUse, young} {
		d := b.open(name)
		b.insert(d, 21, 21)
		d.AfterCommit() // now the file says that it is in use
		b.insert(d, 22, 25)
		opened = append(opened, d)
	}
	return opened
}

func (b *builder) open(name string) *DB {
	b.t.Helper()
	path, err := roomfile.Path(b.dir, "n", name)
	if err != nil {
		b.t.Fatal(err)
	}
	pool := b.pool
	if name == clean {
		pool = nil // it begins with a file, and the log does not have its beginning
	}
	d, err := Open(Options{Path: path, Namespace: "n", Room: name, Log: b.log, Pool: pool})
	if err != nil {
		b.t.Fatal(err)
	}
	if d.Created() {
		mustExec(b.t, d, todosTable2)
	}
	if err := errors.Join(d.Sync("todos"), d.MakeTemplate("todos")); err != nil {
		b.t.Fatal(err)
	}
	return d
}

func (b *builder) insert(d *DB, from, to int) {
	b.t.Helper()
	for i := from; i <= to; i++ {
		actSQL(b.t, d, int64(i), fmt.Sprintf("INSERT INTO todos VALUES (%d, 'text of %[1]d', 0, %[1]d, NULL)", i))
	}
}

func (b *builder) close(d *DB) {
	b.t.Helper()
	if err := d.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (s *street) path(room string) string {
	s.t.Helper()
	path, err := roomfile.Path(s.dir, "n", room)
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *street) verify() verified {
	s.t.Helper()
	return verify(s.t, VerifyOptions{LogDir: filepath.Join(s.dir, "_log")}, files(s.t, s.dir), func(v *Verifier) {
		if err := v.Dir(context.Background(), s.dir, "n"); err != nil {
			s.t.Error(err)
		}
	})
}

// spoil writes into a room's file as another program.
func (s *street) spoil(room, script string) {
	s.t.Helper()
	d, err := openBeside(HostFS(), s.path(room))
	if err == nil {
		_, err = d.sql.Exec(session.Own, script, nil)
		err = errors.Join(err, d.Close())
	}
	if err != nil {
		s.t.Fatalf("%s: %v", script, err)
	}
}

// flip changes bits of a file.
func flip(t testing.TB, path string, at int64, mask byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if at < 0 {
		at += int64(len(b))
	}
	b[at] ^= mask
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a process that was killed has left is sound: what files lack is in the log. Nothing is changed by
// finding that out.
func TestVerifySound(t *testing.T) {
	s := newStreet(t)
	got := s.verify()
	if got.Problems != 0 || got.Rooms != 3 {
		t.Errorf("%+v\n%v", got.Verified, got)
	}
	if got.Replayed < 8 || got.Transactions < 60 {
		t.Errorf("the check saw next to nothing: %+v", got.Verified)
	}
	for _, name := range []string{".db.new", ".db.suspect", ".db.before-restore-20261121T105002.308Z", ".db.part-0123"} {
		if err := os.WriteFile(strings.TrimSuffix(s.path(clean), ".db")+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if more := s.verify(); more.Problems != 0 || more.Notes != got.Notes+4 {
		t.Errorf("with leftovers: %+v\n%v", more.Verified, more)
	}
}

func spoil(room, script string) func(*street) { return func(s *street) { s.spoil(room, script) } }

func change(room string, at int64, mask byte) func(*street) {
	return func(s *street) { flip(s.t, s.path(room), at, mask) }
}

// damages are what may be wrong with a room, and the checks that find it.
var damages = []struct {
	name   string
	damage func(*street)
	room   string
	checks string
}{
	{"magic", change(clean, 0, 1), clean, "open"},
	{"application id", change(clean, 70, 1), clean, "open"},
	{"version", change(clean, 63, 8), clean, "open"},
	{"page size", change(clean, 17, 1), clean, "checksums header open"},
	{"page of another time", func(s *street) { // the row is another one, and SQLite finds nothing in it
		s.spoil(clean, "UPDATE todos SET text = 'TEXT of 30' WHERE id = 30")
	}, clean, "history"},
	{"page in use", func(s *street) {
		b, err := os.ReadFile(s.path(clean))
		if err != nil {
			s.t.Fatal(err)
		}
		flip(s.t, s.path(clean), int64(bytes.LastIndex(b, []byte("text of 30"))), 0x20)
	}, clean, "checksums history integrity"},
	{"structure", change(clean, -4096, 0xff), clean, "checksums history integrity"},
	{"a checksum", change(clean, -1, 1), clean, "checksums history integrity"},
	{"reserved bytes", change(clean, 20, 8), clean, "open"},
	{"cut", func(s *street) {
		if err := os.Truncate(s.path(clean), 4*4096); err != nil {
			s.t.Fatal(err)
		}
	}, clean, "open"},
	{"empty", func(s *street) {
		if err := os.Truncate(s.path(clean), 0); err != nil {
			s.t.Fatal(err)
		}
	}, clean, "open"},
	{"another room's", func(s *street) {
		if err := os.Rename(s.path(inUse), s.path(clean)); err != nil {
			s.t.Fatal(err)
		}
		os.Remove(s.path(inUse) + "-wal")
	}, clean, "open"},
	{"another room's name", spoil(clean, "UPDATE _den_meta SET value = 'x' WHERE name = 'room'"), clean, "open"},
	{"in another directory", func(s *street) {
		if err := os.Rename(s.path(clean), filepath.Join(filepath.Dir(s.path(inUse)), filepath.Base(s.path(clean)))); err != nil {
			s.t.Fatal(err)
		}
	}, "," + clean, "name open"},
	{"a WAL alone", func(s *street) {
		if err := errors.Join(os.Remove(s.path(clean)), os.WriteFile(s.path(clean)+"-wal", []byte("x"), 0o600)); err != nil {
			s.t.Fatal(err)
		}
	}, "," + clean, "leftover open"},
	{"what no transaction left", func(s *street) { s.spoil(inUse, "UPDATE todos SET text = 'x' WHERE id = 20") }, inUse, "open"},
	{"epoch", spoil(clean, "UPDATE _den_meta SET value = 'xyz' WHERE name = 'epoch'"), clean, "open"},
	{"the epoch's checksum", spoil(clean, "UPDATE _den_meta SET value = value + 1 WHERE name = 'epoch_sum'"), clean, "open"},
	{"floor", spoil(clean, "UPDATE _den_meta SET value = 5 WHERE name = 'floor'"), clean, "history tables"},
	{"generation", spoil(clean, "UPDATE _den_meta SET value = 500 WHERE name = 'clean'"), clean, "open"},
	{"a gap in the changes", spoil(clean, "DELETE FROM _den_changes WHERE id = 7"), clean, "history tables"},
	{"numbers of the changes", spoil(clean, "UPDATE _den_changes SET number = number + 1 WHERE id = 7"), clean, "history tables"},
	{"actions of the changes", spoil(clean, "UPDATE _den_changes SET last = last + 1 WHERE id = 7"), clean, "history tables"},
	{"an entry", spoil(clean, "UPDATE _den_changes SET entries = x'01' WHERE id = 7"), clean, "history tables"},
	{"an entry's image", spoil(clean, "UPDATE _den_changes SET entries = x'010004ffffffff' WHERE id = 7"), clean, "history tables"},
	{"an entry's table", spoil(clean, "UPDATE _den_changes SET entries = x'0900010000000000000000' || x'00' WHERE id = 7"), clean, "history tables"},
	{"the maxima", spoil(clean, "UPDATE _den_changes SET highs = x'0101' WHERE id = 7"), clean, "history tables"},
	{"stale", spoil(clean, "UPDATE _den_tables SET stale = 2"), clean, "history tables"},
	{"a table's floor", spoil(clean, "UPDATE _den_tables SET floor = 5000"), clean, "history tables"},
}

// Each kind of damage is found by the check that is for it, in the room that has it, and only there.
func TestVerifyDamage(t *testing.T) {
	for _, c := range damages {
		t.Run(c.name, func(t *testing.T) {
			s := newStreet(t)
			c.damage(s)
			got := s.verify()
			if checks := strings.Join(got.problems(), " "); checks != c.checks {
				t.Errorf("found by %q, want %q:\n%v", checks, c.checks, got)
			}
			if rooms := strings.Join(got.of(), ","); rooms != c.room {
				t.Errorf("it is said of %q, want %q", rooms, c.room)
			}
		})
	}
}

// A log that is damaged or gone is a problem of its own, and of the rooms that need it.
func TestVerifyLog(t *testing.T) {
	s := newStreet(t)
	if err := os.RemoveAll(filepath.Join(s.dir, "_log")); err != nil {
		t.Fatal(err)
	}
	got := s.verify()
	if got.Problems != 1 || got.Rooms != 2 || !errors.Is(got.found[0].Err, ErrLogMissing) || got.found[0].Room != inUse {
		t.Errorf("without the log: %+v\n%v", got.Verified, got)
	}
	s = newStreet(t)
	segment := filepath.Join(s.dir, "_log", "0000000000000001.log")
	b, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 { // more than can be put right
		flip(t, segment, int64(bytes.Index(b, []byte("text of 3"))+i), 0x5a)
	}
	if got = s.verify(); !slices.Contains(got.problems(), "log") {
		t.Errorf("with a damaged log: %+v\n%v", got.Verified, got)
	}
	s = newStreet(t)
	flip(t, filepath.Join(s.dir, "_log", "CURRENT"), 40, 1) // it is there twice
	if got = s.verify(); got.Problems != 0 || got.Notes == 0 || got.Entries < 40 {
		t.Errorf("with one copy of CURRENT damaged: %+v\n%v", got.Verified, got)
	}
}

// Whatever a power cut leaves is sound, and a Verifier on the same disk says so and changes nothing.
func TestVerifyPowerCuts(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	disk := faultdisk.New(seed, faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("verify-%d", seed)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unregister(); err != nil {
			t.Error(err)
		}
	}()
	replayed, walked, began := 0, 0, time.Now()
	const lives = 60
	for life := range lives {
		disk.CrashAfter(1 + rng.IntN(60))
		if d, done, err := powerOpen(disk, name, "/_log", nil); err == nil {
			powerLife(t, d, rng, life*100)
			done()
		}
		disk.Crash()
		if err := disk.Restart(); err != nil {
			t.Fatal(err)
		}
		got := verify(t, VerifyOptions{FS: disk.FS(name), LogDir: "/_log"}, onDiskFiles(t, disk), func(v *Verifier) {
			v.Room(Options{Path: "/room.db", Namespace: "n", Room: "r"})
		})
		if got.Problems > 0 {
			t.Fatalf("seed %d, life %d:\n%v", seed, life, got)
		}
		replayed, walked = replayed+got.Replayed, walked+got.Transactions
	}
	t.Logf("seed %d: %d transactions replayed, %d walked back, %v a life", seed, replayed, walked, time.Since(began)/lives)
	if replayed == 0 || walked == 0 {
		t.Errorf("seed %d: %d transactions were replayed and %d walked back: nothing was tested", seed, replayed, walked)
	}
}

// BenchmarkVerify checks a data directory of three tiny rooms.
func BenchmarkVerify(b *testing.B) {
	s := newStreet(b)
	for b.Loop() {
		v, err := NewVerifier(VerifyOptions{LogDir: filepath.Join(s.dir, "_log"), Report: func(Finding) {}})
		if err != nil {
			b.Fatal(err)
		}
		if err := v.Dir(b.Context(), s.dir, "n"); err != nil {
			b.Fatal(err)
		}
		if got, err := v.Close(); err != nil || got.Problems > 0 || got.Rooms != 3 {
			b.Fatal(got, err)
		}
	}
}

// A data directory is locked while it is checked, by the file that is there; where there is none, a
// server that has come meanwhile is noticed.
func TestLockDirForReading(t *testing.T) {
	dir := t.TempDir()
	unlock, err := LockDirForReading(HostFS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	server, err := LockDir(HostFS(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); !errors.Is(err, ErrInUse) {
		t.Errorf("a server came: %v", err)
	}
	if _, err := LockDirForReading(HostFS(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a server is there: %v", err)
	}
	if err := server(); err != nil {
		t.Fatal(err)
	}
	if unlock, err = LockDirForReading(HostFS(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := LockDir(HostFS(), dir); !errors.Is(err, ErrInUse) {
		t.Errorf("a server starts meanwhile: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
