package storage

// Checking a data directory without changing it. A Verifier opens each room, and the commit log, over a file system that keeps writes
// in memory (package overlay). So it checks what the next Open would see, replays and repairs included, and only reads the files on
// the disk.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/denrooms/den/storage/commitlog"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/overlay"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// Severity says what a Finding means.
type Severity uint8

const (
	// Note: worth knowing, and nothing is wrong.
	Note Severity = iota
	// Problem: something is damaged, missing, or contradicts something else.
	Problem
)

// String is "note" or "problem".
func (s Severity) String() string {
	if s == Problem {
		return "problem"
	}
	return "note"
}

// A Finding is what a Verifier has found.
type Finding struct {
	Severity        Severity
	Namespace, Room string // "", "": it is not of one room
	Path            string // the file
	Check           string // "name", "header", "open", "checksums", "integrity", "foreign keys", "tables", "history", "log", "leftover"
	Err             error  // what was found: for operators
}

// String is one line.
func (f Finding) String() string {
	of := f.Path
	if f.Namespace != "" {
		of = f.Namespace + "/" + f.Room
	}
	return fmt.Sprintf("%v: %s: %s: %v", f.Severity, of, f.Check, f.Err)
}

// Verified counts what was checked.
type Verified struct {
	Rooms        int // that there are, those included that only the log has
	Replayed     int // transactions that files lack and the log has
	Transactions int // that were walked back, each page's checksum compared
	Entries      int // of the commit log, of all rooms, that were read
	Problems     int
	Notes        int
}

// VerifyOptions say what a Verifier works on.
type VerifyOptions struct {
	// FS has the files. nil means the machine's.
	FS FS
	// LogDir is the commit log's directory. "" and a directory without files: there is no log.
	LogDir string
	// PastDir is Options.Past of the rooms. "": their histories are not followed over a Compact.
	PastDir string
	// Relaxed says that the log is one that may have lost transactions which rooms have.
	Relaxed bool
	// Inspect is called for each room that could be opened, to check tables of Den's other packages by
	// DB.Internal; what it writes is thrown away. An error is a Problem of "tables". May be nil.
	Inspect func(*DB) error
	// Report is called with each Finding. Required.
	Report func(Finding)
}

// A Verifier checks rooms. Nobody else may have their files open meanwhile. One goroutine uses it. It needs memory for the pages that
// differ between a room's file and the log, and between the file and the room's oldest state.
type Verifier struct {
	o          VerifyOptions
	rooms      *overlay.FS // Reset after each room
	unregister func() error
	log        *NodeLog             // nil: there is none, or it cannot be opened
	owed       map[roomKey]struct{} // rooms that may lack something which the log has; nil: not looked for yet
	count      Verified
}

// NewVerifier makes a Verifier, and looks through the commit log. Whoever has it calls Close.
func NewVerifier(o VerifyOptions) (*Verifier, error) {
	if o.FS == nil {
		o.FS = vfs.Host()
	}
	v := &Verifier{o: o}
	if err := v.fresh(); err != nil {
		return nil, err
	}
	if there, err := v.hasLog(); err != nil {
		v.report(Finding{Severity: Problem, Path: o.LogDir, Check: "log", Err: diagnose(o.LogDir, err)})
	} else if there {
		v.guard(Finding{Path: o.LogDir, Check: "log"}, v.readLog)
		v.guard(Finding{Path: o.LogDir, Check: "log"}, v.openLog)
	}
	return v, nil
}

func (v *Verifier) hasLog() (bool, error) {
	if v.o.LogDir == "" {
		return false, nil
	}
	names, err := v.o.FS.Names(v.o.LogDir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return len(names) > 0, err
}

// readLog looks through the files of the log.
func (v *Verifier) readLog() error {
	read, err := commitlog.Verify(commitlog.Options{FS: v.o.FS, Dir: v.o.LogDir}, func(p commitlog.Problem) {
		f := Finding{
			Severity: Problem, Path: filepath.Join(v.o.LogDir, p.File), Check: "log",
			Namespace: p.Namespace, Room: nodelog.WithNUL.Replace(p.Room), Err: fmt.Errorf("%w: %s at %d: %s", ErrCorrupt, p.File, p.Offset, p.What),
		}
		if p.Harmless {
			f.Severity, f.Err = Note, fmt.Errorf("%s at %d: %s", p.File, p.Offset, p.What)
		}
		v.report(f)
	})
	v.count.Entries = read.Entries
	return nodelog.Error(err)
}

// fresh makes the file system that the next room is opened on.
func (v *Verifier) fresh() (err error) {
	v.rooms = overlay.New(v.o.FS)
	v.unregister, err = v.rooms.Register()
	return err
}

// Close releases everything, and returns what was checked.
func (v *Verifier) Close() (Verified, error) {
	if v.log != nil {
		_ = v.log.Close() // in memory: nothing depends on how it ends
	}
	return v.count, v.unregister()
}

// report passes a Finding on.
func (v *Verifier) report(f Finding) {
	if f.Severity == Problem {
		v.count.Problems++
	} else {
		v.count.Notes++
	}
	v.o.Report(f)
}

// guard reports an error or a panic of do as a Problem, so that a check goes on whatever the files hold.
func (v *Verifier) guard(what Finding, do func() error) (ok bool) {
	what.Severity = Problem
	defer func() {
		if p := recover(); p != nil {
			what.Err = fmt.Errorf("%w: panic: %v\n%s", ErrCorrupt, p, debug.Stack())
			v.report(what)
			if err := v.fresh(); err != nil { // what the panic has left open is let go
				panic(err)
			}
		}
	}()
	if what.Err = do(); what.Err != nil {
		v.report(what)
		return false
	}
	return true
}

// forever is longer than any history: what is walked back must not be deleted before.
const forever = 200 * 365 * 24 * time.Hour

// openLog opens the log as a node would.
func (v *Verifier) openLog() (err error) {
	v.log, err = OpenLog(LogOptions{
		Dir: v.o.LogDir, FS: overlay.New(v.o.FS), Relaxed: v.o.Relaxed, History: forever,
		MaxUnreleased: math.MaxInt64, Logger: slog.New(slog.DiscardHandler),
	})
	return err
}

// Dir checks all rooms of a data directory's namespaces, with those that only the log has, and the names of other files there. When
// ctx ends, Dir ends early with the cause.
func (v *Verifier) Dir(ctx context.Context, dir string, namespaces ...string) error {
	alone := maps.Clone(v.inLog())
	for _, namespace := range namespaces {
		for at, err := range roomfile.Dirs(dir, namespace) {
			if err != nil {
				v.report(Finding{Severity: Problem, Path: filepath.Join(dir, namespace), Check: "name", Err: err})
				break
			}
			if err := v.hashDir(ctx, dir, namespace, at, alone); err != nil {
				return err
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(alone), roomKey.compare) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if path, err := roomfile.Path(dir, key.namespace, key.room); err == nil { // otherwise it is not a program's room
			v.Room(Options{Path: path, Namespace: key.namespace, Room: key.room})
		}
	}
	return nil
}

// roomKey is a room that was found in the log.
type roomKey struct{ namespace, room string }

func (k roomKey) compare(other roomKey) int {
	return cmp.Or(cmp.Compare(k.namespace, other.namespace), cmp.Compare(k.room, other.room))
}

// inLog returns the rooms whose files may lack entries that the log has, as it was before rooms were opened.
func (v *Verifier) inLog() map[roomKey]struct{} {
	if v.owed != nil {
		return v.owed
	}
	all := make(map[roomKey]struct{})
	v.owed = all
	if v.log == nil {
		return all
	}
	add := func(namespace, room string) bool {
		all[roomKey{namespace, room}] = struct{}{}
		return true
	}
	v.guard(Finding{Path: v.o.LogDir, Check: "log"}, func() error {
		v.log.Unrecovered(add)
		v.log.Pinned(add)
		for _, err := range v.log.Log.Unlisted() {
			if !errors.Is(err, commitlog.ErrLost) { // a file that is missing has a Finding of its own
				return nodelog.Error(err)
			}
		}
		return nil
	})
	return all
}

// hashDir checks one directory with rooms of a namespace, and removes its rooms from alone.
func (v *Verifier) hashDir(ctx context.Context, dir, namespace, at string, alone map[roomKey]struct{}) error {
	names, err := v.o.FS.Names(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		v.report(Finding{Severity: Problem, Path: at, Check: "name", Err: diagnose(at, err)})
		return nil
	}
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		path := filepath.Join(at, name)
		room, is := roomfile.Find(dir, namespace, path)
		if !is {
			v.other(path, name, there)
			v.addEntries(dir, namespace, path, there, alone)
			continue
		}
		if room.Room == "" && !v.guard(Finding{Path: path, Check: "name"}, func() (err error) {
			room.Room, err = ReadRoomName(v.rooms, path)
			return err
		}) {
			continue
		}
		if want, err := roomfile.Path(dir, namespace, room.Room); err != nil || want != path {
			v.report(Finding{Severity: Problem, Path: path, Check: "name", Err: fmt.Errorf("%w: it holds %q, whose file is another", ErrWrongRoom, room.Room)})
			continue
		}
		delete(alone, roomKey{namespace, room.Room})
		v.Room(Options{Path: path, Namespace: namespace, Room: room.Room})
	}
	return nil
}
