package room

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/inner"
)

// A line is a link that keeps what comes.
type line struct {
	mu   sync.Mutex
	came []string
}

func (l *line) Send(frames ...*hibernate.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range frames {
		l.came = append(l.came, string(f.Payload()))
	}
}

func (*line) Close(int, string) {}

func (l *line) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	came := l.came
	l.came = nil
	return came
}

type thing struct {
	ID string
	Stamps
}

type things struct {
	Base
	Things Table[thing]
}

func (h *things) Put(c *Context, in thing) error { return h.Things.Upsert(c, in) }

// A commit that is in the file although the life that made it broke before it had handed
// it out comes to the connections that outlived that life, once.
func TestInvariantResumeCommitThatWasNotHandedOut(t *testing.T) {
	ctx := context.Background()
	h, err := Open(Options{Dir: t.TempDir(), Seed: 1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Shutdown(ctx)
	if err := h.Register("things", func() Handler { return new(things) }, Action("put", (*things).Put)); err != nil {
		t.Fatal(err)
	}
	key, link := Key{Namespace: "things", Room: "r"}, new(line)
	s, err := h.Connect(ctx, key, ConnectRequest{Link: link})
	if err != nil {
		t.Fatal(err)
	}
	act := func(id string) {
		t.Helper()
		s.Receive(fmt.Appendf(nil, `{"id":%q,"channel":"things","rpc":true,"action":{"type":"put","payload":{"ID":%q}}}`, id, id), false)
		if err := inner.OfHost(h).Settle(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	act("a")
	act("b")
	link.take()
	s.conn.Handed(1) // as if the life had broken after the commit of b
	for range 2 {
		if err := h.Sleep(ctx, key); err != nil {
			t.Fatal(err)
		}
		if err := inner.OfHost(h).Settle(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	got := link.take()
	if len(got) != 1 || !strings.Contains(got[0], `"type":"update"`) || !strings.Contains(got[0], `[["b",`) || !strings.Contains(got[0], `.2"}`) {
		t.Errorf("the connection got %q", got)
	}
}
