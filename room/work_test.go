package room_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/faultdisk"
)

// What becomes of work outside of a room: its hook runs once, or the loss is counted, and the room can sleep again.

// An office gives work away and writes down what came of it.
type office struct {
	room.Base
	Items room.Table[item]

	out *outside
}

// outside is how a test talks to an office.
type outside struct {
	work  func(context.Context) error
	ran   chan error // what the hooks after the work were given, each time that one ran
	count atomic.Int32
}

func (o *office) OnConnect(c *room.Context) error {
	if c.Conn().ID() == "full" {
		return o.begin(c)
	}
	if strings.HasPrefix(c.Conn().ID(), "busy") {
		for range 65 {
			if err := c.Go(o.out.work, func(*room.Context, error) error { return nil }); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin begins the first pieces of work, as many as a room may have under way. What follows each begins another one.
func (o *office) begin(c *room.Context) error {
	for range 64 {
		err := c.Go(o.out.work, func(c *room.Context, _ error) error {
			err := c.Go(o.out.work, func(_ *room.Context, err error) error {
				o.out.ran <- err
				return nil
			})
			o.out.ran <- err
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *office) Delegate(c *room.Context, in item) error {
	return c.Go(o.out.work, func(c *room.Context, err error) error {
		o.out.ran <- err
		return o.Items.Insert(c, item{ID: fmt.Sprint(in.ID, o.out.count.Add(1))})
	})
}

func (o *office) Put(c *room.Context, in item) error { return o.Items.Upsert(c, in) }

func openOffice(t *testing.T, work func(context.Context) error, opts ...roomtest.Option) (*roomtest.Host, *outside) {
	out := &outside{work: work, ran: make(chan error, 100)}
	return roomtest.New(t, func(h *room.Host) error {
		return h.Register("office", func() room.Handler { return &office{out: out} },
			room.Action("delegate", (*office).Delegate), room.Action("put", (*office).Put))
	}, opts...), out
}

// came waits for the hook after the work.
func (o *outside) came(t *testing.T) error {
	t.Helper()
	select {
	case err := <-o.ran:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("what follows the work did not run")
		return nil
	}
}

// mustSleep checks that the room has nothing left to stay awake for.
func mustSleep(t *testing.T, h *roomtest.Host) {
	t.Helper()
	h.Advance(30 * time.Second)
	if h.Awake() != 0 {
		t.Error("the room does not sleep")
	}
}

// A result whose batch is lost on a full disk is not lost with it: the hook runs again, and leaves its row once.
func TestWorkOnAFullDisk(t *testing.T) {
	disk, with := onDisk(t, 1)
	release := make(chan struct{})
	h, out := openOffice(t, func(context.Context) error { <-release; return nil }, with)
	t.Cleanup(disk.Heal)
	alice := h.Join("office", "r", "alice")
	alice.Sync("items")
	mustSucceed(t, alice.Do("items", "delegate", object{"id": "w"}))
	disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: ".log", Times: -1})
	close(release)
	for range 2 { // the second one at once
		if err := out.came(t); err != nil {
			t.Errorf("the hook was given %v", err)
		}
	}
	disk.Heal()
	for deadline := time.Now().Add(20 * time.Second); len(alice.Received()) == 0 && time.Now().Before(deadline); {
		h.Advance(100 * time.Millisecond)
	}
	if got := ids(alice.Sync("items")); got != fmt.Sprint("w", out.count.Load()) {
		t.Errorf("of %d runs the room holds %q, want what the last one left", out.count.Load(), got)
	}
	if n := h.WorkLost(); n != 0 {
		t.Errorf("%d pieces of work count as lost", n)
	}
	mustSleep(t, h)
}

// Work whose life has ended is told so, its hook does not run in the next life, and that is counted and logged.
func TestWorkOfALifeThatEnds(t *testing.T) {
	for name, end := range map[string]func(*roomtest.Host){
		"crash": func(h *roomtest.Host) { h.CrashRoom("office", "r") },
		"sleep": func(h *roomtest.Host) { h.SleepRoom("office", "r") },
	} {
		t.Run(name, func(t *testing.T) {
			var said logRecords
			ended, release := make(chan error, 1), make(chan struct{})
			h, out := openOffice(t, func(ctx context.Context) error {
				<-ctx.Done()
				ended <- ctx.Err()
				<-release
				return nil
			}, func(o *room.Options) { o.Logger = slog.New(slog.NewJSONHandler(&said, nil)) })
			alice := h.Join("office", "r", "alice")
			mustSucceed(t, alice.Do("items", "delegate", object{"id": "w"}))
			end(h)
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the work's context ended with %v", err)
			}
			mustSucceed(t, alice.Do("items", "put", object{"id": "next life"}))
			if n := h.WorkLost(); n != 1 { // before the work returns: the process may be about to end
				t.Errorf("%d are counted as lost while the work goes on", n)
			}
			close(release)
			if got := ids(alice.Sync("items")); got != "next life" || len(out.ran) != 0 || h.WorkLost() != 1 {
				t.Errorf("the room holds %q, the hook ran %d times, %d are counted as lost", got, len(out.ran), h.WorkLost())
			}
			if lines := said.text(); !strings.Contains(lines, "did not run: the room's life had ended") {
				t.Errorf("the log has %s", lines)
			}
			mustSleep(t, h)
		})
	}
}

func (l *logRecords) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Work has a minute; then its context says so, and its hook hears of it.
func TestWorkThatTakesTooLong(t *testing.T) {
	h, out := openOffice(t, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	alice := h.Join("office", "r", "alice")
	alice.Sync("items")
	mustSucceed(t, alice.Do("items", "delegate", object{"id": "w"}))
	h.Advance(59 * time.Second)
	if len(out.ran) != 0 {
		t.Fatal("the work ended too early")
	}
	h.Advance(time.Second)
	if err := out.came(t); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the hook was given %v", err)
	}
	if e := alice.Next(); ids(e.Rows) != "w1" {
		t.Errorf("got %s", e.Data)
	}
	mustSleep(t, h)
}

// Work that does not return keeps its room awake for two minutes and no longer; where the room is still awake when it
// returns, its hook runs.
func TestWorkThatDoesNotReturn(t *testing.T) {
	for _, sleeps := range []bool{true, false} {
		release, begun := make(chan struct{}), make(chan struct{})
		h, out := openOffice(t, func(context.Context) error { close(begun); <-release; return nil })
		alice := h.Join("office", "r", "alice")
		mustSucceed(t, alice.Do("items", "delegate", object{"id": "w"}))
		within(t, begun, "the work to begin") // its time runs from then
		h.Advance(100 * time.Second)
		if h.Awake() != 1 {
			t.Fatal("the room sleeps while work has time")
		}
		for range 5 { // in use, it stays awake
			mustSucceed(t, alice.Do("items", "put", object{"id": "x"}))
			h.Advance(5 * time.Second)
		}
		if sleeps {
			mustSleep(t, h)
		}
		close(release)
		if sleeps {
			for deadline := time.Now().Add(20 * time.Second); h.WorkLost() == 0 && time.Now().Before(deadline); {
				runtime.Gosched()
			}
		} else if err := out.came(t); err != nil {
			t.Errorf("the hook was given %v", err)
		}
		if lost := h.WorkLost() == 1; lost != sleeps || len(out.ran) != 0 {
			t.Errorf("the room sleeps: %v; counted as lost: %v", sleeps, lost)
		}
		mustSleep(t, h)
	}
}

// Work that ends its goroutine or panics has its hook like any other.
func TestWorkThatFails(t *testing.T) {
	for name, work := range map[string]func(context.Context) error{
		"exits":  func(context.Context) error { runtime.Goexit(); return nil },
		"panics": func(context.Context) error { panic("no") },
	} {
		t.Run(name, func(t *testing.T) {
			var said logRecords
			h, out := openOffice(t, work, func(o *room.Options) { o.Logger = slog.New(slog.NewJSONHandler(&said, nil)) })
			mustSucceed(t, h.Join("office", "r", "alice").Do("items", "delegate", object{"id": "w"}))
			if err := out.came(t); err == nil {
				t.Error("the hook was told that the work succeeded")
			}
			if logged := strings.Contains(said.text(), "TestWorkThatFails"); logged != (name == "panics") {
				t.Errorf("the log has %s", said.text())
			}
			mustSleep(t, h)
		})
	}
}

// As much work as a room may have is under way, and what follows each piece begins the next one.
func TestWorkThatFollowsWork(t *testing.T) {
	release := make(chan struct{})
	h, out := openOffice(t, func(context.Context) error { <-release; return nil })
	h.Join("office", "r", "full")
	close(release)
	for range 2 * 64 { // the last of it too: the clock would leap while a piece is under way, and the room stay awake for that
		if err := out.came(t); err != nil {
			t.Errorf("a piece failed, or the next one was refused: %v", err)
		}
	}
	mustSleep(t, h)
}

// A hook that begins too much is refused like any other, also OnConnect, and nothing of the work begins.
func TestTooMuchWork(t *testing.T) {
	var began atomic.Int32
	h, _ := openOffice(t, func(context.Context) error { began.Add(1); return nil })
	_, err := h.TryJoin("office", "r", "busy")
	if code, _ := room.ErrorCode(err); code != "overloaded" {
		t.Errorf("OnConnect was refused with %v", err)
	}
	mustSleep(t, h)
	if n := began.Load(); n != 0 {
		t.Errorf("%d pieces of work began of a hook that failed", n)
	}
}
