package roomtest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// TB is what the kit needs of a *testing.T, *testing.B or *testing.F.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// patience is how long the kit waits, in real time, for what should come at once.
const patience = 20 * time.Second

// A Host is a room.Host for tests, with a clock that stands still.
type Host struct {
	*room.Host
	Clock *Clock

	t       TB
	options room.Options
	setup   func(*room.Host) error
}

// An Option changes how a Host is opened.
type Option func(*room.Options)

// New opens a host in a temporary directory. setup registers the namespaces; it is
// called again after Reopen. The host is shut down when the test ends. Randomness
// comes from a fixed seed, the log goes nowhere, and files are not scrubbed, if
// opts do not say otherwise.
func New(t TB, setup func(*room.Host) error, opts ...Option) *Host {
	t.Helper()
	h := &Host{Clock: NewClock(), t: t, setup: setup}
	h.options = room.Options{
		Dir:        t.TempDir(),
		Clock:      h.Clock,
		Seed:       1,
		Logger:     slog.New(slog.DiscardHandler),
		ScrubEvery: -1,
	}
	for _, o := range opts {
		o(&h.options)
	}
	h.open()
	t.Cleanup(func() {
		if err := h.shutdown(); err != nil {
			t.Fatalf("roomtest: shutting down: %v", err)
		}
		if left := h.Host.MemoryUsed(); left != 0 {
			t.Fatalf("roomtest: %d bytes of messages still count after shutdown, which is a fault of Den's", left)
		}
	})
	return h
}

func (h *Host) open() {
	h.t.Helper()
	host, err := room.Open(h.options)
	if err == nil {
		err = h.setup(host)
	}
	if err != nil {
		h.t.Fatalf("roomtest: opening the host: %v", err)
	}
	h.Host = host
	h.settleAlarms()
}

// settleAlarms waits until the alarms that are due have run.
func (h *Host) settleAlarms() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.SettleAlarms(ctx); err != nil {
		h.t.Fatalf("roomtest: waiting for alarms: %v", err)
	}
}

func (h *Host) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return h.Host.Shutdown(ctx)
}

// Reopen shuts the host down and opens a new one on the same directory. All clients
// are closed with 1001; join again. Rooms that are awake run OnClose, as at a deploy. Alarms that were missed meanwhile have run when it returns.
func (h *Host) Reopen() {
	h.t.Helper()
	if err := h.shutdown(); err != nil {
		h.t.Fatalf("roomtest: shutting down: %v", err)
	}
	h.open()
}

// settleTime is how long, in real time, Advance waits for the rooms to be done.
const settleTime = 2 * time.Second

// Advance lets virtual time pass, and calls what falls due. What the rooms were at before is done
// first: a client may have an action's outcome before its room is done with the action. It stops at
// each alarm on the way until the alarm has run, and its room has handed out what it sent: when
// Advance returns, all alarms have run that fell due, those among them that alarms have set, and
// rooms that had nothing to do for Options.IdleAfter sleep. It does not wait for another hook that
// hangs; where an alarm hangs, there is Clock.Advance.
func (h *Host) Advance(d time.Duration) {
	h.t.Helper()
	h.quiet()
	h.Clock.advance(d, h.settleAlarms)
	h.settleAlarms()
	h.quiet()
}

// quiet waits for the rooms for a while only: a hook may hang on purpose.
func (h *Host) quiet() {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	_ = h.Quiet(ctx)
}

// Quiet waits until no room has anything to do, and wakes none. Nobody may send anything meanwhile.
func (h *Host) Quiet(ctx context.Context) error { return inner.OfHost(h.Host).Quiet(ctx) }

// Settle waits until a room has served all that was sent to it before, and has handed out what it sent. It wakes the room if it must.
func (h *Host) Settle(ctx context.Context, key room.Key) error {
	return inner.OfHost(h.Host).Settle(ctx, key)
}

// SettleAlarms waits until no room runs alarms and none is due. It does not wait for a room that could not be woken.
func (h *Host) SettleAlarms(ctx context.Context) error { return inner.OfHost(h.Host).SettleAlarms(ctx) }

// Crash is CrashRoom with an error.
func (h *Host) Crash(ctx context.Context, key room.Key) error {
	return inner.OfHost(h.Host).Crash(ctx, key)
}

// SleepRoom puts a room to sleep. Its clients stay, and the next message wakes it.
func (h *Host) SleepRoom(namespace, name string) {
	h.t.Helper()
	h.end("putting to sleep", namespace, name, h.Host.Sleep)
}

// CrashRoom ends a room's life as a fault would: nothing that it had in memory
// remains. Its clients stay. It is no crash of the server: what that does to an OnClose is seen by
// SleepRoom, Reopen, Join and an Advance of a minute, which runs OnClose with room.CloseLost for those that did not come back.
func (h *Host) CrashRoom(namespace, name string) {
	h.t.Helper()
	h.end("crashing", namespace, name, h.Crash)
}

func (h *Host) end(what, namespace, name string, f func(context.Context, room.Key) error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f(ctx, room.Key{Namespace: namespace, Room: name}); err != nil {
		h.t.Fatalf("roomtest: %s %s/%s: %v", what, namespace, name, err)
	}
}

// Request sends a plain HTTP request to a room's OnRequest.
func (h *Host) Request(namespace, name string, r *http.Request) (*http.Response, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w := httptest.NewRecorder()
	if err := h.Host.ServeRequest(ctx, room.Key{Namespace: namespace, Room: name}, room.Identity{}, w, r); err != nil {
		return nil, err
	}
	return w.Result(), nil
}
