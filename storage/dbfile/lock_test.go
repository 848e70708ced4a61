package dbfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

// lockFile opens a file, with the system's locks.
func lockFile(t *testing.T, path string) (l *osLock, end func()) {
	t.Helper()
	f, err := vfs.Host().Open(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	l = &osLock{file: f.(syscall.Conn)}
	return l, func() {
		l.release()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func code0(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrBusy):
		return "busy"
	}
	return err.Error()
}

// The levels exclude each other as SQLite's documents say, between two open files of one process.
func TestLevels(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	a, endA := lockFile(t, path)
	b, endB := lockFile(t, path)
	defer endA()
	reserved := func(l *osLock) string {
		is, err := l.Reserved()
		if is && err == nil {
			return "yes"
		}
		return code0(err)
	}
	for i, step := range []struct{ got, want string }{
		{code0(a.Lock(Shared)), "ok"}, {code0(b.Lock(Shared)), "ok"}, {reserved(a), "ok"},
		{code0(a.Lock(Reserved)), "ok"}, {code0(b.Lock(Reserved)), "busy"}, {reserved(b), "yes"}, {reserved(a), "yes"},
		{code0(a.Lock(Exclusive)), "busy"},                             // b reads
		{code0(b.Unlock(None)), "ok"}, {code0(b.Lock(Shared)), "busy"}, // a waits
		{code0(a.Lock(Exclusive)), "ok"}, {code0(b.Lock(Shared)), "busy"}, {code0(b.Lock(Exclusive)), "busy"},
		{code0(a.Unlock(Shared)), "ok"}, {code0(b.Lock(Shared)), "ok"}, {reserved(b), "ok"}, {code0(a.Lock(Shared)), "ok"},
		{code0(b.Lock(Reserved)), "ok"}, {code0(b.Unlock(None)), "ok"}, {code0(b.Lock(Exclusive)), "busy"}, // a reads
		{code0(a.Unlock(None)), "ok"}, {code0(b.Lock(Exclusive)), "ok"}, {reserved(a), "yes"}, {code0(a.Lock(Shared)), "busy"},
		{code0(b.Unlock(None)), "ok"}, {code0(a.Lock(Shared)), "ok"}, {code0(a.Unlock(None)), "ok"}, {code0(b.Lock(Exclusive)), "ok"},
	} {
		if step.got != step.want {
			t.Errorf("step %d: %s, want %s", i, step.got, step.want)
		}
	}
	endB()
	if got := code0(a.Lock(Exclusive)); got != "ok" || a.Level() != Exclusive {
		t.Errorf("after the other one was closed: %s", got)
	}
}

// SQLite's own VFS and this one lock the same bytes: what one of them has, the other one is refused.
func TestLocksAreSQLites(t *testing.T) {
	path := newDatabase(t, "DELETE")
	own := mustOpen(t, func() (*sqlite.Conn, error) { return sqlite.OpenConn("", path, sqlite.OpenReadWrite) })
	dens := mustOpen(t, func() (*sqlite.Conn, error) { return Open(vfs.Host().SQLite(), path, sqlite.OpenReadWrite) })
	const read, end = "BEGIN; SELECT * FROM t", "ROLLBACK"
	for _, pair := range [][2]*sqlite.Conn{{own, dens}, {dens, own}} {
		has, wants := pair[0], pair[1]
		for _, step := range []struct {
			has, wants string
			busy       bool
		}{
			{read, read, false},
			{read, "BEGIN IMMEDIATE", false},
			{read, "BEGIN EXCLUSIVE", true},
			{"BEGIN IMMEDIATE", read, false},
			{"BEGIN IMMEDIATE", "BEGIN IMMEDIATE", true},
			{"BEGIN EXCLUSIVE", read, true},
		} {
			run(t, has, step.has)
			err := wants.ExecScript(step.wants)
			if busy := codeOf(err).Primary() == sqlite.ResultBusy; busy != step.busy || err != nil && !busy {
				t.Errorf("%s and then %s: %v", step.has, step.wants, err)
			}
			run(t, has, end)
			if !wants.AutocommitEnabled() {
				run(t, wants, end)
			}
		}
	}

	if _, err := Hold(dens); err != nil {
		t.Fatal(err)
	}
	if err := own.ExecScript(read); codeOf(err).Primary() != sqlite.ResultBusy {
		t.Errorf("a file that is held was read: %v", err)
	}
	if !own.AutocommitEnabled() {
		run(t, own, end)
	}
	if _, err := OpenFile(vfs.Host().SQLite(), path); codeOf(err) != sqlite.ResultBusy {
		t.Errorf("a file that is held was opened: %v", err)
	}
	if _, err := Share(vfs.Host().SQLite(), path); codeOf(err) != sqlite.ResultBusy {
		t.Errorf("a file that is held was shared: %v", err)
	}
}

// Who shares a file keeps writers away, and no readers, and goes when it is closed.
func TestShare(t *testing.T) {
	path := newDatabase(t, "DELETE")
	own := mustOpen(t, func() (*sqlite.Conn, error) { return sqlite.OpenConn("", path, sqlite.OpenReadWrite) })
	for range 2 {
		f, err := Share(vfs.Host().SQLite(), path)
		if err != nil {
			t.Fatal(err)
		}
		run(t, own, "SELECT * FROM t")
		if err := own.ExecScript("INSERT INTO t VALUES (2)"); codeOf(err).Primary() != sqlite.ResultBusy {
			t.Errorf("a file that is shared was written: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	run(t, own, "INSERT INTO t VALUES (2)")
}
