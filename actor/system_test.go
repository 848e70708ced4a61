package actor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRequest(t *testing.T) {
	s := newTest(t, scripted{receive: each(func(s *scripted, e *Envelope) error {
		e.Reply(fmt.Sprint(s.key, " ", e.Message), nil)
		e.Reply("a second time", errBroken)
		return nil
	})}, Options{})
	if got, want := ask(t, s, key, 1), "rooms/one 1"; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	ask(t, s, other, 2)
	ask(t, s, key, 3)
	if got, want := s.Keys(), []Key{key, other}; !reflect.DeepEqual(got, want) || s.Awake() != 2 {
		t.Errorf("awake are %v (%d), want %v", got, s.Awake(), want)
	}
}

func TestRequestContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type ctxKey struct{}
		var served atomic.Int32
		release := make(chan struct{})
		s := newTest(t, scripted{receive: each(func(s *scripted, e *Envelope) error {
			<-release
			served.Add(1)
			e.Reply(e.Context().Value(ctxKey{}), nil)
			return nil
		})}, Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Request(ctx, key, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		if _, err := s.Request(ctx, key, 2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		close(release)
		synctest.Wait()
		if n := served.Load(); n != 1 {
			t.Errorf("%d were served, want the one that was sent", n)
		}
		v, err := s.Request(context.WithValue(t.Context(), ctxKey{}, "carried"), key, 3)
		if v != "carried" || err != nil {
			t.Errorf("got %v, %v", v, err)
		}
	})
}

// TestBatches: what queues up while a batch is in work is the next one, in order, and
// cut at MaxBatch.
func TestBatches(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var sizes []int
		var order []any
		var in atomic.Int32
		release := make(chan struct{})
		s := newTest(t, scripted{receive: func(_ *scripted, batch []*Envelope) error {
			if in.Add(1) != 1 {
				t.Error("two batches at once")
			}
			<-release
			sizes = append(sizes, len(batch))
			for _, e := range batch {
				order = append(order, e.Message)
				e.Reply(nil, nil)
			}
			in.Add(-1)
			return nil
		}}, Options{MaxBatch: 4})
		mustSend(t, s, key, 0, nil)
		synctest.Wait() // it is in work
		var want []any
		for i := range 10 {
			want = append(want, i)
			if i > 0 {
				mustSend(t, s, key, i, nil)
			}
		}
		close(release)
		synctest.Wait()
		if !slices.Equal(sizes, []int{1, 4, 4, 1}) {
			t.Errorf("batches of %v", sizes)
		}
		if !slices.Equal(order, want) {
			t.Errorf("order %v", order)
		}
	})
}

func TestOverload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReplies(t)
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			<-release
			e.Reply(nil, nil)
			return nil
		})}, Options{MailboxSize: 3})
		mustSend(t, s, key, "in work", r.to("in work"))
		synctest.Wait()
		for i := range 3 {
			mustSend(t, s, key, i, r.to(i))
		}
		called := func(any, error) { t.Error("a refused Send called its reply") }
		if err := s.Send(key, 4, called); err != ErrOverloaded {
			t.Errorf("got %v, want ErrOverloaded", err)
		}
		mustSend(t, s, other, "elsewhere", r.to("elsewhere"))
		close(release)
		synctest.Wait()
		r.complete()
		mustSend(t, s, key, 5, r.to(5))
		synctest.Wait()
		r.complete()
	})
}

func TestUnanswered(t *testing.T) {
	var kept *Envelope
	s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
		kept = e
		return nil
	})}, Options{})
	if _, err := s.Request(t.Context(), key, 1); err != ErrUnanswered {
		t.Errorf("got %v, want ErrUnanswered", err)
	}
	kept.Reply("too late", nil) // must not reach the next Request
	if _, err := s.Request(t.Context(), key, 2); err != ErrUnanswered {
		t.Errorf("got %v, want ErrUnanswered", err)
	}
}

// TestInvariantOrdered: many senders, each one's messages arrive in its own order,
// over lives that end all the time.
func TestInvariantOrdered(t *testing.T) {
	const senders, each = 8, 300
	var mu sync.Mutex
	last := make(map[int]int)
	s := newTest(t, scripted{receive: func(_ *scripted, batch []*Envelope) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range batch {
			m := e.Message.([2]int)
			if m[1] != last[m[0]]+1 {
				t.Errorf("sender %d: %d came after %d", m[0], m[1], last[m[0]])
			}
			last[m[0]] = m[1]
			e.Reply(nil, nil)
		}
		return nil
	}}, Options{MailboxSize: senders * each, MaxBatch: 7})
	var wg sync.WaitGroup
	for n := range senders {
		wg.Go(func() {
			for i := range each {
				mustSend(t, s, key, [2]int{n, i + 1}, nil)
				if i%50 == n {
					s.Stop(t.Context(), key)
				}
				if i%50 == n+20 {
					s.Kill(t.Context(), key)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Stop(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	for n := range senders {
		if last[n] != each {
			t.Errorf("sender %d: %d of %d arrived", n, last[n], each)
		}
	}
	checkEmpty(t, s)
}

func TestDispatcher(t *testing.T) {
	var queue []func()
	s := newTest(t, scripted{}, Options{Dispatcher: func(run func()) { queue = append(queue, run) }})
	got := 0
	mustSend(t, s, key, 1, func(any, error) { got++ })
	mustSend(t, s, other, 1, func(any, error) { got++ })
	if got != 0 || len(queue) != 2 {
		t.Fatalf("%d ran by itself, %d are scheduled", got, len(queue))
	}
	for len(queue) > 0 {
		run := queue[0]
		queue = queue[1:]
		run()
	}
	if got != 2 {
		t.Errorf("%d were answered, want 2", got)
	}
	for _, k := range s.Keys() {
		s.Stop(canceled(), k) // asks, does not wait
	}
	for _, run := range queue {
		run()
	}
	if s.Awake() != 0 {
		t.Errorf("awake: %v", s.Keys())
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// TestProtoactorIsQuiet: what protoactor says at Info is said at Debug, which the default logger does not take.
func TestProtoactorIsQuiet(t *testing.T) {
	if l := system().Logger(); l.Enabled(t.Context(), slog.LevelInfo) || !l.Enabled(t.Context(), slog.LevelWarn) {
		t.Errorf("Info: %v, Warn: %v", l.Enabled(t.Context(), slog.LevelInfo), l.Enabled(t.Context(), slog.LevelWarn))
	}
}

func TestLogging(t *testing.T) {
	var log syncBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	s := NewSystem(func(Key, uint64) Behavior {
		return &scripted{receive: func(*scripted, []*Envelope) error { panic("oh no") }}
	}, Options{Logger: logger})
	s.Request(t.Context(), key, 1)
	s.Shutdown(t.Context())
	got := string(log.Bytes())
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "room=one") ||
		!strings.Contains(got, "oh no") || !strings.Contains(got, "TestLogging") {
		t.Errorf("the panic was not reported once, with key and stack:\n%s", got)
	}
}

func TestInbox(t *testing.T) {
	var b inbox
	put, took := 0, 0
	for _, n := range []int{1, 5, 3, 100, 7, 0, 200, 1, 1000} {
		for range n {
			b.put(&Envelope{Message: put})
			put++
		}
		for _, e := range b.take(nil, n*2/3) {
			if e.Message != took {
				t.Fatalf("got %v, want %d", e.Message, took)
			}
			took++
		}
	}
	if got := len(b.take(nil, b.len())); got != put-took || b.len() != 0 {
		t.Errorf("took %d, %d are left, want %d and none", got, b.len(), put-took)
	}
	if b.ahead != (chain{}) || b.last != nil || b.index != nil || b.bytes != 0 {
		t.Errorf("keeps %+v of a burst", b)
	}
}

// SendAwake reaches a life, also one that is about to end, and begins none.
func TestSendAwake(t *testing.T) {
	var served atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	s := newTest(t, scripted{receive: each(func(s *scripted, e *Envelope) error {
		if e.Message == "block" {
			close(entered)
			<-release
		}
		served.Add(1)
		e.Reply(s.life, nil)
		return nil
	})}, Options{})
	if err := s.SendAwake(key, 1, nil); err != ErrAsleep || s.Awake() != 0 {
		t.Fatalf("got %v, and %d are awake", err, s.Awake())
	}
	mustSend(t, s, key, "block", nil)
	<-entered
	answered := make(chan any, 1)
	if err := s.SendAwake(key, 2, func(v any, err error) { answered <- v }); err != nil {
		t.Fatal(err)
	}
	close(release)
	<-answered
	if err := s.Stop(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := s.SendAwake(key, 3, nil); err != ErrAsleep || served.Load() != 2 {
		t.Errorf("got %v, %d were served", err, served.Load())
	}
}
