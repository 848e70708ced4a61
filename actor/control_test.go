package actor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestStopDrains(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log []string
		release := make(chan struct{})
		s := newTest(t, scripted{
			receive: each(func(s *scripted, e *Envelope) error {
				<-release
				log = append(log, fmt.Sprint(e.Message, " in ", s.life))
				e.Reply(nil, nil)
				return nil
			}),
			stop: func(s *scripted, reason StopReason) { log = append(log, fmt.Sprint(reason, " ", s.life)) },
		}, Options{MaxBatch: 2})
		for i := range 4 {
			mustSend(t, s, key, i, nil)
		}
		var stopped sync.WaitGroup
		for range 3 {
			stopped.Go(func() {
				if err := s.Stop(t.Context(), key); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		mustSend(t, s, key, "later", nil)
		close(release)
		stopped.Wait()
		synctest.Wait()
		want := []string{"0 in 1", "1 in 1", "2 in 1", "3 in 1", "requested 1", "later in 2"}
		if !slices.Equal(log, want) {
			t.Errorf("got  %q\nwant %q", log, want)
		}
		if err := s.Stop(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		checkEmpty(t, s)
		if err := s.Stop(t.Context(), key); err != nil { // nothing to do
			t.Error(err)
		}
	})
}

// TestSlowStop: what comes while a life stops waits for the next one, in order, and
// the inbox's bound holds.
func TestSlowStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log []string
		r := newReplies(t)
		s := newTest(t, scripted{
			start: func(s *scripted) error { log = append(log, fmt.Sprint("start ", s.life)); return nil },
			receive: each(func(s *scripted, e *Envelope) error {
				log = append(log, fmt.Sprint(e.Message, " in ", s.life))
				e.Reply(nil, nil)
				return nil
			}),
			stop: func(s *scripted, _ StopReason) {
				time.Sleep(3 * time.Second)
				log = append(log, fmt.Sprint("stopped ", s.life))
			},
		}, Options{MailboxSize: 3})
		ask(t, s, key, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Stop(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		for _, m := range []string{"b", "c", "d"} {
			mustSend(t, s, key, m, r.to(m))
		}
		if err := s.Send(key, "e", nil); err != ErrOverloaded {
			t.Errorf("got %v, want ErrOverloaded", err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		want := []string{"start 1", "a in 1", "stopped 1", "start 2", "b in 2", "c in 2", "d in 2"}
		if !slices.Equal(log, want) {
			t.Errorf("got  %q\nwant %q", log, want)
		}
		r.complete()
	})
}

// TestStopWhileStopping: a Stop that comes while messages wait for the next life stops
// that one, when it has served them.
func TestStopWhileStopping(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newReplies(t)
		s := newTest(t, scripted{stop: func(*scripted, StopReason) { time.Sleep(3 * time.Second) }}, Options{})
		ask(t, s, key, "a")
		s.Stop(canceled(), key)
		synctest.Wait()
		mustSend(t, s, key, "b", r.to("b"))
		if err := s.Stop(t.Context(), key); err != nil {
			t.Error(err)
		}
		r.complete()
		checkEmpty(t, s)
	})
}

// TestStopOverFailure: Stop waits for the next life too, when the one that was to drain
// breaks underneath.
func TestStopOverFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReplies(t)
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			<-release
			if e.Message == "bad" {
				return errBroken
			}
			e.Reply(nil, nil)
			return nil
		})}, Options{MaxBatch: 1})
		for _, m := range []string{"bad", "good", "last"} {
			mustSend(t, s, key, m, r.to(m))
		}
		var stopped sync.WaitGroup
		stopped.Go(func() {
			if err := s.Stop(t.Context(), key); err != nil {
				t.Error(err)
			}
			r.complete()
			checkEmpty(t, s)
		})
		synctest.Wait()
		close(release)
		stopped.Wait()
		unavailable(t, r.err("bad"))
		if err := r.err("last"); err != nil {
			t.Error(err)
		}
	})
}

func TestKill(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log []string
		release := make(chan struct{})
		s := newTest(t, scripted{
			receive: each(func(s *scripted, e *Envelope) error {
				<-release
				log = append(log, fmt.Sprint(e.Message, " in ", s.life))
				e.Reply(nil, nil)
				return nil
			}),
			stop: func(s *scripted, reason StopReason) { log = append(log, fmt.Sprint(reason, " ", s.life)) },
		}, Options{MaxBatch: 1})
		for _, m := range []string{"a", "b", "c"} {
			mustSend(t, s, key, m, nil)
		}
		s.Stop(canceled(), key) // stays in force for the next life
		s.Kill(canceled(), key)
		close(release)
		synctest.Wait()
		want := []string{"killed 1", "a in 2", "b in 2", "c in 2", "requested 2"}
		if log[0] == "a in 1" { // it had begun
			want = []string{"a in 1", "killed 1", "b in 2", "c in 2", "requested 2"}
		}
		if !slices.Equal(log, want) {
			t.Errorf("got  %q\nwant %q", log, want)
		}
		checkEmpty(t, s)

		ask(t, s, key, "d")
		if err := s.Kill(t.Context(), key); err != nil {
			t.Error(err)
		}
		checkEmpty(t, s)
		if err := s.Kill(t.Context(), key); err != nil { // nothing to do
			t.Error(err)
		}
	})
}

// hanging is a Behavior that hangs in Receive, or in Start, until release is closed.
func hanging(where string, release chan struct{}) scripted {
	return scripted{
		start: func(s *scripted) error {
			if where == "start" && s.life == 1 {
				<-release
			}
			return nil
		},
		receive: each(func(s *scripted, e *Envelope) error {
			if where == "receive" && s.life == 1 {
				<-release
			}
			e.Reply(s.life, nil)
			return nil
		}),
	}
}

func TestAbandonReceive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReplies(t)
		b := hanging("receive", release)
		b.stop = func(s *scripted, _ StopReason) {
			if s.life == 1 {
				t.Error("Stop after Abandon")
			}
		}
		s := newTest(t, b, Options{MaxBatch: 2})
		mustSend(t, s, key, "hangs", r.to("hangs"))
		synctest.Wait()
		mustSend(t, s, key, "queued", r.to("queued"))
		killed := make(chan error, 1)
		go func() { killed <- s.Kill(t.Context(), key) }() // ends when the life is over
		synctest.Wait()
		if s.Abandon(key, 2) || s.Abandon(other, 1) {
			t.Error("abandoned a life that is not there")
		}
		if !s.Abandon(key, 1) {
			t.Fatal("not abandoned")
		}
		if err := <-killed; err != nil {
			t.Error(err)
		}
		if s.Abandon(key, 1) {
			t.Error("abandoned twice")
		}
		synctest.Wait()
		r.complete()
		if u := unavailable(t, r.err("hangs")); !errors.Is(u, ErrAbandoned) || u.RetryAfter != 0 {
			t.Errorf("got %v", u)
		}
		if err := r.err("queued"); err != nil {
			t.Error(err)
		}
		close(release) // what the old life answers now is ignored, and it serves nothing
		synctest.Wait()
		if got := ask(t, s, key, "more"); got != uint64(2) {
			t.Errorf("served by life %v, want 2", got)
		}
		synctest.Wait() // the turn ends after its reply
		if s.Abandon(key, 2) {
			t.Error("abandoned a life that does not hang")
		}
	})
}

func TestAbandonStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReplies(t)
		s := newTest(t, hanging("start", release), Options{})
		mustSend(t, s, key, "hangs", r.to("hangs"))
		synctest.Wait()
		if !s.Abandon(key, 1) {
			t.Fatal("not abandoned")
		}
		r.complete() // as after a failed start
		if u := unavailable(t, r.err("hangs")); u.RetryAfter != 100*time.Millisecond || !errors.Is(u, ErrAbandoned) {
			t.Errorf("got %v", u)
		}
		time.Sleep(100 * time.Millisecond)
		if got := ask(t, s, key, "more"); got != uint64(2) {
			t.Errorf("served by life %v, want 2", got)
		}
		close(release)
		synctest.Wait()
		if got := ask(t, s, key, "more"); got != uint64(2) {
			t.Errorf("served by life %v, want 2", got)
		}
	})
}

// TestAbandonFails: as long as a life is not fenced no other one begins; it ends when
// the call that hung returns, before or after Abandon did.
func TestAbandonFails(t *testing.T) {
	for _, where := range []string{"receive", "start"} {
		for _, when := range []string{"before", "after"} {
			t.Run(where+" returns "+when, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					release, fence := make(chan struct{}), make(chan struct{})
					r := newReplies(t)
					var stopped []uint64
					b := hanging(where, release)
					b.abandon = func(*scripted) { <-fence; panic("no fence") }
					b.stop = func(s *scripted, _ StopReason) { stopped = append(stopped, s.life) }
					s := newTest(t, b, Options{MaxBatch: 1})
					for i := range 3 {
						mustSend(t, s, key, i, r.to(i))
					}
					synctest.Wait()
					var abandon sync.WaitGroup
					abandon.Go(func() {
						if s.Abandon(key, 1) {
							t.Error("it says that it was abandoned")
						}
					})
					synctest.Wait()
					first, second := fence, release
					if when == "before" {
						first, second = release, fence
					}
					close(first)
					synctest.Wait()
					if stopped != nil {
						t.Error("it ended too early")
					}
					close(second)
					abandon.Wait()
					synctest.Wait()
					r.complete()
					if got := ask(t, s, key, "more"); got != uint64(2) {
						t.Errorf("served by life %v, want 2", got)
					}
					if !slices.Equal(stopped, []uint64{1}) {
						t.Errorf("stopped are %v, want 1", stopped)
					}
				})
			})
		}
	}
}

func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var stopped atomic.Int32
		release := make(chan struct{})
		r := newReplies(t)
		s := newTest(t, scripted{
			receive: each(func(_ *scripted, e *Envelope) error {
				<-release
				e.Reply(nil, nil)
				return nil
			}),
			stop: func(_ *scripted, reason StopReason) {
				time.Sleep(time.Second)
				if reason == StopRequested {
					stopped.Add(1)
				}
			},
		}, Options{MaxBatch: 3})
		const actors = 3 * stopWorkers
		for i := range 10 * actors {
			mustSend(t, s, Key{"rooms", fmt.Sprint(i % actors)}, i, r.to(i))
		}
		done := make(chan error, 2)
		for range cap(done) {
			go func() { done <- s.Shutdown(t.Context()) }() // ends when all is drained
		}
		synctest.Wait()
		if err := s.Send(key, 1, nil); err != ErrStopped {
			t.Errorf("Send to a new actor: %v", err)
		}
		if err := s.Send(Key{"rooms", "1"}, 1, nil); err != ErrStopped {
			t.Errorf("Send to an old actor: %v", err)
		}
		if _, err := s.Request(t.Context(), key, 1); err != ErrStopped {
			t.Errorf("Request: %v", err)
		}
		if len(done) != 0 {
			t.Error("Shutdown did not wait")
		}
		close(release)
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		r.complete()
		for i := range r.sent {
			if err := r.err(i); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		if n := stopped.Load(); n != actors {
			t.Errorf("%d lives were stopped, want %d", n, actors)
		}
		checkEmpty(t, s)
	})
}

// TestShutdownOfOneThatHasGone has an actor end by itself while Shutdown waits for others that come before it.
func TestShutdownOfOneThatHasGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			if e.Message == "hangs" {
				<-release
			}
			return nil
		})}, Options{})
		last, place := Key{}, -1
		keys := make([]Key, 2*stopWorkers)
		for i := range keys {
			keys[i] = Key{"rooms", fmt.Sprint(i)}
			for at := range s.shards { // Shutdown takes one after another
				if s.shard(keys[i]) == &s.shards[at] && at > place {
					last, place = keys[i], at
				}
			}
		}
		for _, k := range keys {
			mustSend(t, s, k, map[bool]string{true: "returns", false: "hangs"}[s.shard(k) == s.shard(last)], nil)
		}
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }() // ends when all have
		synctest.Wait()
		if err := s.Kill(t.Context(), last); err != nil {
			t.Error(err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestStopOverAbandon: what a life that hung had not begun is served before Stop returns, as all that was queued when it was
// called is.
func TestStopOverAbandon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReplies(t)
		s := newTest(t, scripted{receive: func(s *scripted, batch []*Envelope) error {
			if s.life == 1 {
				batch[0].Begin()
				<-release
			}
			time.Sleep(time.Second)
			for _, e := range batch {
				e.Reply(nil, nil)
			}
			return nil
		}}, Options{MaxBatch: 3})
		mustSend(t, s, key, "first", r.to("first"))
		synctest.Wait()
		for _, m := range []string{"begun", "spared", "too"} {
			mustSend(t, s, key, m, r.to(m))
		}
		release <- struct{}{}
		time.Sleep(2 * time.Second)
		stopped := make(chan error, 1)
		go func() { // ends when all is served
			stopped <- s.Stop(t.Context(), key)
			r.complete()
		}()
		synctest.Wait()
		if !s.Abandon(key, 1) {
			t.Error("not abandoned")
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		unavailable(t, r.err("begun"))
		for _, m := range []string{"first", "spared", "too"} {
			if err := r.err(m); err != nil {
				t.Errorf("%s: %v", m, err)
			}
		}
		close(release)
		time.Sleep(2 * time.Second) // the first life's call returns
	})
}

// TestShutdownGivesUp: ctx ends the waiting for a life that hangs; it doesn't keep the
// others from ending; Start's context tells those that wait in it.
func TestShutdownGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReplies(t)
		s := NewSystem(func(key Key, life uint64) Behavior {
			b := hanging("receive", release)
			b.life = life
			if key == other {
				return startWaits{&b}
			}
			return &b
		}, Options{Logger: discard()})
		mustSend(t, s, key, "hangs", r.to("hangs"))
		synctest.Wait()
		mustSend(t, s, other, "in start", r.to("in start"))
		mustSend(t, s, Key{"rooms", "good"}, "good", r.to("good"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		synctest.Wait()
		if got := s.Keys(); !slices.Equal(got, []Key{key}) {
			t.Errorf("%v are left, want the one that hangs", got)
		}
		unavailable(t, r.err("in start"))
		close(release)
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		r.complete()
		checkEmpty(t, s)
	})
}

// startWaits does not start before its context ends.
type startWaits struct{ Behavior }

func (startWaits) Start(ctx context.Context, _ any) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestShutdownAbandoned: a life that hangs does not hold a shutdown up once it has been
// abandoned, and what it had queued is still served.
func TestShutdownAbandoned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReplies(t)
		s := newTest(t, hanging("receive", release), Options{MaxBatch: 1})
		mustSend(t, s, key, "hangs", r.to("hangs"))
		mustSend(t, s, key, "queued", r.to("queued"))
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }() // ends after Abandon
		synctest.Wait()
		s.Abandon(key, 1)
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.complete()
		if err := r.err("queued"); err != nil {
			t.Error(err)
		}
		close(release)
	})
}
