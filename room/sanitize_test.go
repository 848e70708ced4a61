package room_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// mean is an error whose methods note where they are called.
type mean struct {
	inner error
	seen  *moodySeen
}

func (m mean) note() {
	if stack := string(debug.Stack()); !strings.Contains(stack, "room.sanitize(") && !strings.Contains(stack, "moody).On") {
		m.seen.outside.Store(&stack)
	}
}

func (m mean) Error() string        { m.note(); return "mean: " + m.inner.Error() }
func (m mean) Unwrap() error        { m.note(); return m.inner }
func (m mean) Is(target error) bool { m.note(); return target == context.Canceled }

// spoken wraps nothing, and says by its As which of Den's errors it is.
type spoken struct{ of error }

func (s spoken) Error() string { return "spoken" }

func (s spoken) As(target any) (is bool) {
	switch t := target.(type) {
	case **room.Error:
		*t, is = s.of.(*room.Error)
	case **syncproto.Error:
		*t, is = s.of.(*syncproto.Error)
	}
	return is
}

// always misbehaves at once.
type always struct{ hang bool }

func (a always) Error() string {
	if a.hang {
		select {}
	}
	panic("no text")
}

var errOwn = errors.New("the program's own")

// A moody room's actions fail as they are told.
type moody struct {
	room.Base
	seen *moodySeen
}

type moodySeen struct {
	outside atomic.Pointer[string] // the stack of a call of an error's method out of the hook's time
	got     error                  // what OnError got
}

func (m *moody) OnStart(c *room.Context) error {
	_, err := c.Exec("CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER)")
	return err
}

func (m *moody) OnAction(c *room.Context, _ string, a room.ActionRequest) (any, error) {
	inner := map[string]error{
		"own": errOwn, "refused": room.Abort("too_moody", "Not today."), "missing": fmt.Errorf("looking: %w", room.ErrNotFound),
		"conflict": storage.ErrConstraint, "late": context.DeadlineExceeded, "protocol": &syncproto.Error{Code: syncproto.CodeBadMessage, Message: "Not so."},
	}[strings.TrimPrefix(a.Type, "spoken ")]
	switch {
	case strings.HasPrefix(a.Type, "spoken "):
		return nil, spoken{inner}
	case a.Type == "fine":
		return 1, nil
	case a.Type == "panics" || a.Type == "hangs":
		return nil, always{hang: a.Type == "hangs"}
	}
	return nil, fmt.Errorf("wrapped: %w", mean{inner: inner, seen: m.seen})
}

func (m *moody) OnError(_ *room.Context, err error) { m.seen.got = err }

// TestErrorsOfHooksAreHeardOnce: an error with methods of the program's own is looked at in its hook's time, and never again:
// text and code are right.
func TestErrorsOfHooksAreHeardOnce(t *testing.T) {
	var log recorder
	seen := new(moodySeen)
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("moody", func() room.Handler { return &moody{seen: seen} }, room.Synced("items"))
	}, func(o *room.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	c := h.Join("moody", "one", "client")
	for action, code := range map[string]string{
		"own": "action_failed", "refused": "too_moody", "missing": "not_found", "conflict": "conflict", "late": "action_timeout", "protocol": "bad_message",
		"spoken refused": "too_moody", "spoken protocol": "bad_message", "spoken own": "action_failed",
	} {
		link := new(recorder)
		s, err := h.Host.Connect(t.Context(), room.Key{Namespace: "moody", Room: "one"}, room.ConnectRequest{Link: link})
		if err != nil {
			t.Fatal(err)
		}
		s.Receive(fmt.Appendf(nil, `{"rpc":true,"id":"1","channel":"items","action":{"type":%q,"payload":{}}}`, action), false)
		if err := h.Quiet(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := link.all(); !strings.Contains(got, fmt.Sprintf("%q", code)) {
			t.Errorf("%s: the client got %s, want the code %s", action, got, code)
		}
	}
	if stack := seen.outside.Load(); stack != nil {
		t.Errorf("a method of the program's error was called out of the hook's time:\n%s", *stack)
	}
	if got := c.Do("items", "fine", struct{}{}); got.Kind != "success" {
		t.Errorf("afterwards: %+v", got)
	}
	if text := log.all(); !strings.Contains(text, "mean: the program's own") {
		t.Errorf("the log has not what the error said:\n%s", text)
	}
}

// OnError gets the error that the hook returned, with its own type.
func TestOnErrorGetsTheErrorItself(t *testing.T) {
	seen := new(moodySeen)
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("moody", func() room.Handler { return &moody{seen: seen} }, room.Synced("items"))
	})
	h.Join("moody", "one", "client").Do("items", "own", struct{}{})
	if m, is := errors.AsType[mean](seen.got); !is || m.inner != errOwn {
		t.Errorf("OnError got %#v", seen.got)
	}
}

// An error that has no text, because its method panics or hangs, costs its action and its room's life, as a hook does that
// panics or hangs.
func TestErrorsThatCannotBeHeard(t *testing.T) {
	seen := new(moodySeen)
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("moody", func() room.Handler { return &moody{seen: seen} }, room.Synced("items"))
	}, func(o *room.Options) { o.Clock, o.ActionTimeout = room.SystemClock(), 100*time.Millisecond })
	for _, action := range []string{"panics", "hangs"} {
		c := h.Join("moody", action, "client")
		if got := c.Do("items", action, struct{}{}); got.Kind != "error" {
			t.Errorf("%s: %+v", action, got)
		}
		other := h.Join("moody", "other of "+action, "client")
		if got := other.Do("items", "fine", struct{}{}); got.Kind != "success" {
			t.Errorf("another room after %s: %+v", action, got)
		}
	}
}
