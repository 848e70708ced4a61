package room

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
)

// A narrowLine is a line that takes no next piece of an answer until it is open.
type narrowLine struct {
	line
	open atomic.Bool
}

func (l *narrowLine) Waiting() int {
	if l.open.Load() {
		return 0
	}
	return 1 << 30
}

// A drainClock keeps what waits for a client to read, until the test lets it go.
type drainClock struct {
	Clock
	mu      sync.Mutex
	waiting []func()
}

func (c *drainClock) AfterFunc(d time.Duration, f func()) Timer {
	if d != drainPause {
		return c.Clock.AfterFunc(d, f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, f)
	return c.Clock.AfterFunc(time.Hour, func() {})
}

// release lets go what waits, and reports how much that was.
func (c *drainClock) release() int {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, f := range waiting {
		f()
	}
	return len(waiting)
}

// TestInvariantResumeAnswerEndsInTheNextLife: a life breaks between two pieces of an answer, and the next one begins with
// the exception that the channel is too large to be sent at once. What is left of the answer is not sent: the client asks
// again.
func TestInvariantResumeAnswerEndsInTheNextLife(t *testing.T) {
	ctx, clock := context.Background(), &drainClock{Clock: SystemClock()}
	h, err := Open(Options{Dir: t.TempDir(), Seed: 1, Logger: slog.New(slog.DiscardHandler), Clock: clock, MaxSnapshotBytes: 500})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Shutdown(ctx)
	if err := h.Register("things", func() Handler { return new(things) }, Action("put", (*things).Put)); err != nil {
		t.Fatal(err)
	}
	key, link := Key{Namespace: "things", Room: "r"}, new(narrowLine)
	s, err := h.Connect(ctx, key, ConnectRequest{Link: link})
	if err != nil {
		t.Fatal(err)
	}
	say := func(message string) []string {
		t.Helper()
		s.Receive([]byte(message), false)
		if err := inner.OfHost(h).Settle(ctx, key); err != nil {
			t.Fatal(err)
		}
		return link.take()
	}
	for i := range 50 {
		say(fmt.Sprintf(`{"id":"%d","channel":"things","rpc":true,"action":{"type":"put","payload":{"ID":"%[1]d"}}}`, i))
	}
	const question = `{"channel":"things","sync":true,"cursor":null}`
	if got := say(question); len(got) == 0 || !strings.Contains(got[len(got)-1], `"more":true`) {
		t.Fatalf("the first piece is %q", got)
	}
	s.conn.Handed(1) // as if the life had broken after its last commit
	if err := h.Sleep(ctx, key); err != nil {
		t.Fatal(err)
	}
	if err := inner.OfHost(h).Settle(ctx, key); err != nil {
		t.Fatal(err)
	}
	if got := link.take(); len(got) != 1 || !strings.Contains(got[0], `"too_large"`) {
		t.Fatalf("the next life begins with %q", got)
	}
	link.open.Store(true)
	if clock.release() != 1 {
		t.Fatal("the first answer does not wait for its client")
	}
	if err := inner.OfHost(h).Settle(ctx, key); err != nil {
		t.Fatal(err)
	}
	if got := link.take(); len(got) != 0 {
		t.Errorf("after the exception came %q", got)
	}
	if got := say(question); len(got) == 0 || !strings.Contains(got[0], `[["0",`) {
		t.Errorf("the next answer begins with %q", got)
	}
}
