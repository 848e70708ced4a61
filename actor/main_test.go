package actor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"
)

// No exception is needed: protoactor keeps a goroutine only for a second after a dead
// letter, and this package makes none.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	key   = Key{"rooms", "one"}
	other = Key{"rooms", "two"}

	errBroken = errors.New("broken")
)

// scripted is a Behavior of functions; one that is nil does nothing. Without receive
// each message is answered with itself.
type scripted struct {
	key     Key
	life    uint64
	first   any // what Start was told
	start   func(s *scripted) error
	receive func(s *scripted, batch []*Envelope) error
	stop    func(s *scripted, reason StopReason)
	abandon func(s *scripted)
}

func (s *scripted) Start(_ context.Context, first any) error {
	s.first = first
	if s.start == nil {
		return nil
	}
	return s.start(s)
}

func (s *scripted) Receive(batch []*Envelope, _ func(int) []*Envelope) error {
	if s.receive != nil {
		return s.receive(s, batch)
	}
	for _, e := range batch {
		e.Reply(e.Message, nil)
	}
	return nil
}

func (s *scripted) Stop(reason StopReason) {
	if s.stop != nil {
		s.stop(s, reason)
	}
}

func (s *scripted) Abandon() {
	if s.abandon != nil {
		s.abandon(s)
	}
}

// each makes a receive out of a function for one message.
func each(f func(s *scripted, e *Envelope) error) func(*scripted, []*Envelope) error {
	return func(s *scripted, batch []*Envelope) error {
		for _, e := range batch {
			if err := f(s, e); err != nil {
				return err
			}
		}
		return nil
	}
}

// newTest makes a System whose lives are copies of b. When the test ends it is shut
// down, and must then be empty, and have sent nothing to an actor that is gone.
func newTest(t testing.TB, b scripted, o Options) *System {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	before := processes()
	s := NewSystem(func(key Key, life uint64) Behavior {
		l := b
		l.key, l.life = key, life
		return &l
	}, o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		checkEmpty(t, s)
		if left := processes() - before; left > 0 {
			t.Errorf("protoactor has %d processes more than before", left)
		}
	})
	letters := system().EventStream.Subscribe(func(event any) {
		if dead, is := event.(*proto.DeadLetterEvent); is {
			t.Errorf("there was a dead letter: %v", dead)
		}
	})
	t.Cleanup(func() { system().EventStream.Unsubscribe(letters) })
	return s
}

// String is what checkEmpty prints of a cell that is left.
func (c *cell) String() string {
	return fmt.Sprintf("%v: life %d in phase %d, %d queued, %d failures", c.key, c.life.number, c.life.phase, c.queue.len(), c.failures)
}

// checkEmpty fails if anything of any actor is left.
func checkEmpty(t testing.TB, s *System) {
	t.Helper()
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		if len(sh.cells) != 0 || len(sh.resting) != 0 {
			t.Errorf("shard %d holds %v and %v", i, sh.cells, sh.resting)
		}
		sh.mu.RUnlock()
	}
	if n := s.Awake(); n != 0 {
		t.Errorf("%d actors are awake", n)
	}
}

// processes is how many processes protoactor has, those of all systems.
func processes() (n int) {
	for _, bucket := range system().ProcessRegistry.LocalPIDs.LocalPIDs {
		n += bucket.Count()
	}
	return n
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

// replies collects the answers to messages; it fails if one gets a second.
type replies struct {
	t    testing.TB
	mu   sync.Mutex
	got  map[any]answer
	sent int
}

func newReplies(t testing.TB) *replies { return &replies{t: t, got: make(map[any]answer)} }

// to gives the reply function for one message.
func (r *replies) to(msg any) func(any, error) {
	r.mu.Lock()
	r.sent++
	r.mu.Unlock()
	return func(v any, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, twice := r.got[msg]; twice {
			r.t.Errorf("%v was answered twice", msg)
		}
		r.got[msg] = answer{v, err}
	}
}

func (r *replies) err(msg any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.got[msg]
	if !ok {
		r.t.Errorf("%v was not answered", msg)
	}
	return a.err
}

// complete fails if a message has no answer.
func (r *replies) complete() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.got) != r.sent {
		r.t.Errorf("%d of %d messages were answered", len(r.got), r.sent)
	}
}

func mustSend(t testing.TB, s *System, key Key, msg any, reply func(any, error)) {
	t.Helper()
	if err := s.Send(key, msg, reply); err != nil {
		t.Fatalf("Send %v: %v", msg, err)
	}
}

func ask(t testing.TB, s *System, key Key, msg any) any {
	t.Helper()
	v, err := s.Request(t.Context(), key, msg)
	if err != nil {
		t.Fatalf("Request %v: %v", msg, err)
	}
	return v
}

func unavailable(t testing.TB, err error) *UnavailableError {
	t.Helper()
	u, ok := errors.AsType[*UnavailableError](err)
	if !ok || !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v, want an UnavailableError", err)
	}
	return u
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// clock is an injected clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1e9, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}
