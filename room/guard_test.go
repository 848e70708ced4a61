package room_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/vfs"
)

// Faults in what the host does for rooms by itself: they cost the room that they are in, are told to the
// operator once, and the process goes on.

// A cursedFS panics when a file is opened whose path ends in what the curse says.
type cursedFS struct {
	vfs.FS
	curse *atomic.Value // of a string; "": none
}

func (c cursedFS) Open(path string, flag int) (vfs.File, error) {
	if suffix := c.curse.Load().(string); suffix != "" && strings.HasSuffix(path, suffix) {
		panic("the curse of " + suffix)
	}
	return c.FS.Open(path, flag)
}

// A cursed host is an logOnly one whose disk can be cursed, and whose log can be read.
type cursed struct {
	*logOnly
	curse atomic.Value
	said  logRecords
}

func newCursed(t *testing.T) *cursed {
	t.Helper()
	c := &cursed{logOnly: newLogOnly(t)}
	c.curse.Store("")
	c.o.FS = cursedFS{c.o.FS, &c.curse}
	c.o.Logger = slog.New(slog.NewJSONHandler(&c.said, nil))
	return c
}

// logRecords are the records of a logger.
type logRecords struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logRecords) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// of gives the records of a room, of level Error.
func (l *logRecords) of(t *testing.T, name string) (records []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(l.buf.Bytes()) {
		var r map[string]any
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if r["room"] == name && r["level"] == "ERROR" {
			records = append(records, r)
		}
	}
	return records
}

// mustFail checks that one room is failing, for a reason.
func (c *cursed) mustFail(name, reason string) {
	c.t.Helper()
	failures := c.Failures()
	if len(failures) != 1 || failures[0].Key != nest(name) || !strings.Contains(failures[0].Err.Error(), reason) {
		c.t.Errorf("the failures are %v, want one of %s with %q", failures, name, reason)
	}
}

// A room that makes the recovery panic costs itself: the others get their files, the process goes on, the
// operator is told once, with the stack, and the room itself recovers when its fault is gone.
func TestPanicInRecovery(t *testing.T) {
	u := newCursed(t)
	names := []string{"a", "b", "c", "d", "e"}
	u.clock.Advance(0) // the index of alarms has looked for them: nobody else opens the files
	u.wake(names...)
	u.curse.Store("c.db")
	u.cut()
	u.clock.Advance(time.Minute)
	for _, name := range names {
		if has := u.file(name); has != (name != "c") {
			t.Errorf("%s has a file: %v", name, has)
		}
	}
	u.mustFail("c", "the curse of c.db")
	for range 3 { // it is tried again whenever somebody calls for it
		u.clock.Advance(time.Minute)
		_, err := u.Connect(t.Context(), nest("c"), room.ConnectRequest{Link: nowhere{}})
		if code, message := room.ErrorCode(err); code != "room_unavailable" || strings.Contains(message, "curse") {
			t.Errorf("a client is told %s: %s", code, message)
		}
	}
	said := u.said.of(t, "c")
	if len(said) != 1 || !strings.Contains(fmt.Sprint(said[0]["stack"]), "recoverRoom") {
		t.Errorf("the operator is told %v", said)
	}
	u.curse.Store("")
	u.clock.Advance(time.Minute)
	if err := inner.OfHost(u).Settle(t.Context(), nest("c")); err != nil {
		t.Error(err)
	}
	if failures := u.Failures(); len(failures) != 0 {
		t.Errorf("when it had started: %v", failures)
	}
}

// nowhere is a link to nobody.
type nowhere struct{}

func (nowhere) Send(...*room.Frame) {}
func (nowhere) Close(int, string)   {}

// The same in the search for alarms that the index does not have, and in what operators ask of all rooms.
func TestPanicInOtherRoomsFiles(t *testing.T) {
	u := newCursed(t)
	names := []string{"a", "b", "c"}
	u.wake(names...)
	u.stop()
	if err := u.disk.Remove("/data/_alarms/index.db"); err != nil {
		t.Fatal(err)
	}
	u.curse.Store("b.db")
	u.start()
	u.clock.Advance(0)
	u.mustFail("b", "the curse of b.db")
	alarmed := map[string]bool{}
	for a, err := range u.Alarms(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		alarmed[a.Key.Room] = true
	}
	if !alarmed["a"] || alarmed["b"] || !alarmed["c"] {
		t.Errorf("alarms are known of %v", alarmed)
	}
	for _, name := range names {
		_, err := u.MigrationStatus(nest(name))
		if (err != nil) != (name == "b") {
			t.Errorf("the migrations of %s: %v", name, err)
		}
		err = u.Backup(t.Context(), nest(name), "/"+name+".copy")
		if (err != nil) != (name == "b") {
			t.Errorf("the backup of %s: %v", name, err)
		}
		u.clock.Advance(time.Minute) // b is tried again by then
	}
	u.mustFail("b", "the curse of b.db")
	if said := u.said.of(t, "b"); len(said) != 1 {
		t.Errorf("the operator is told %v", said)
	}
}

// An index of alarms that makes its reader panic is put aside as a damaged one, and the node starts.
func TestPanicInTheIndexOfAlarms(t *testing.T) {
	u := newCursed(t)
	u.wake("a")
	u.stop()
	u.o.FS = &panicsOnce{FS: u.o.FS, suffix: "_alarms/index.db"}
	u.start()
	u.clock.Advance(0)
	if names, err := u.o.FS.Names("/data/_alarms"); err != nil || !strings.Contains(fmt.Sprint(names), ".refused-") {
		t.Errorf("%v, %v", names, err)
	}
	next := 0
	for a, err := range u.Alarms(t.Context()) {
		if next++; err != nil || a.Key.Room == "" {
			t.Error(a, err)
		}
	}
	if next != 2 { // the first room's too
		t.Errorf("%d alarms are known", next)
	}
}

// panicsOnce panics when a file is opened for the first time.
type panicsOnce struct {
	vfs.FS
	suffix string
	done   atomic.Bool
}

func (p *panicsOnce) Open(path string, flag int) (vfs.File, error) {
	if strings.HasSuffix(path, p.suffix) && p.done.CompareAndSwap(false, true) {
		panic("once")
	}
	return p.FS.Open(path, flag)
}

// A link of a program's own that panics when it is told of somebody who has left ends nothing.
func TestPanicInALinkOfThePresence(t *testing.T) {
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("party", func() room.Handler { return new(nestling) }, room.Presence())
	})
	alice := h.Join("party", "r", "alice")
	alice.Presence("here")
	link := new(fragile)
	bob, err := h.Connect(t.Context(), room.Key{Namespace: "party", Room: "r"}, room.ConnectRequest{ID: "bob", Link: link})
	if err != nil {
		t.Fatal(err)
	}
	if err := bob.Receive([]byte(`{"presence":1}`), false); err != nil {
		t.Fatal(err)
	}
	link.broken.Store(true)
	alice.Leave()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := h.Settle(ctx, room.Key{Namespace: "party", Room: "r"}); err != nil {
		t.Error(err)
	}
	if !link.hit.Load() {
		t.Error("the link was not told: nothing was tested")
	}
}

type fragile struct {
	broken, hit atomic.Bool
}

func (f *fragile) Send(...*hibernate.Frame) {
	if f.broken.Load() {
		f.hit.Store(true)
		panic(errors.New("a link of the program's own"))
	}
}

func (f *fragile) Close(int, string) {}

// Of a room whose OnStart fails or panics the log has one line, with the reason, however often somebody calls for it.
func TestFailedStartIsToldOnce(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("no shop.conf") },
		"panic": func() error { panic("no shop.conf") },
	} {
		t.Run(name, func(t *testing.T) {
			var said logRecords
			h := roomtest.New(t, func(h *room.Host) error {
				return h.Register("fails", func() room.Handler { return &failsToStart{fail: fail} })
			}, func(o *room.Options) { o.Logger = slog.New(slog.NewJSONHandler(&said, nil)) })
			for range 3 {
				if _, err := h.TryJoin("fails", "r", "alice"); err == nil {
					t.Error("it started")
				}
				h.Advance(time.Minute)
			}
			if records := said.of(t, "r"); len(records) != 1 || !strings.Contains(fmt.Sprint(records[0]["err"]), "no shop.conf") || (records[0]["stack"] != nil) != (name == "panic") {
				t.Errorf("the log has %v", records)
			}
		})
	}
}

type failsToStart struct {
	room.Base
	fail func() error
}

func (f *failsToStart) OnStart(*room.Context) error { return f.fail() }
