package actor

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// breaks says how a Receive can break.
var breaks = map[string]func(){
	"panic":     func() { panic("oh no") },
	"panic nil": func() { panic(nil) },
	"goexit":    runtime.Goexit,
	"error":     nil,
}

func breakBy(f func()) error {
	if f != nil {
		f()
	}
	return errBroken
}

// TestBrokenLife: the unanswered messages of the batch in work are refused, the life is
// stopped, and what is queued is served by the next one.
func TestBrokenLife(t *testing.T) {
	for name, how := range breaks {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				release := make(chan struct{})
				var log []string
				r := newReplies(t)
				s := newTest(t, scripted{
					start: func(s *scripted) error { log = append(log, fmt.Sprint("start ", s.life)); return nil },
					receive: each(func(s *scripted, e *Envelope) error {
						<-release
						if e.Message == "bad" {
							return breakBy(how)
						}
						log = append(log, fmt.Sprint(e.Message, " in ", s.life))
						e.Reply(e.Message, nil)
						return nil
					}),
					stop: func(s *scripted, reason StopReason) { log = append(log, fmt.Sprint(reason, " ", s.life)) },
				}, Options{MaxBatch: 3})
				mustSend(t, s, key, "first", nil)
				synctest.Wait()
				for _, m := range []string{"good", "bad", "behind", "queued", "more"} {
					mustSend(t, s, key, m, r.to(m))
				}
				close(release)
				synctest.Wait()
				want := []string{"start 1", "first in 1", "good in 1", "failed 1", "start 2", "queued in 2", "more in 2"}
				if !slices.Equal(log, want) {
					t.Errorf("got  %q\nwant %q", log, want)
				}
				r.complete()
				for _, m := range []string{"bad", "behind"} {
					if u := unavailable(t, r.err(m)); u.RetryAfter != 0 || u.Cause == nil {
						t.Errorf("%s: %#v", m, u)
					}
				}
				for _, m := range []string{"good", "queued", "more"} {
					if err := r.err(m); err != nil {
						t.Errorf("%s: %v", m, err)
					}
				}
			})
		})
	}
}

// TestRequeue: what Receive says that it has not begun is the next life's, in order,
// and before what was queued behind it; also where the life was asked to stop.
func TestRequeue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		var log []string
		r := newReplies(t)
		s := newTest(t, scripted{
			receive: each(func(s *scripted, e *Envelope) error {
				<-release
				if e.Message == "bad" {
					e.Reply(nil, errBroken)
					return fmt.Errorf("this one: %w", ErrRequeue)
				}
				log = append(log, fmt.Sprint(e.Message, " in ", s.life))
				e.Reply(e.Message, nil)
				return nil
			}),
		}, Options{MaxBatch: 4})
		mustSend(t, s, key, "first", nil)
		synctest.Wait()
		for _, m := range []string{"good", "bad", "behind", "it", "queued"} {
			mustSend(t, s, key, m, r.to(m))
		}
		s.Stop(canceled(), key)
		mustSend(t, s, key, "after the stop", r.to("after the stop"))
		close(release)
		synctest.Wait()
		want := []string{"first in 1", "good in 1", "behind in 2", "it in 2", "queued in 2", "after the stop in 3"}
		if !slices.Equal(log, want) {
			t.Errorf("got  %q\nwant %q", log, want)
		}
		r.complete()
		if err := r.err("bad"); err != errBroken {
			t.Errorf("the one at fault got %v", err)
		}
	})
}

// TestRequeueNothingDone: without progress, and after a panic, nothing is put back.
func TestRequeueNothingDone(t *testing.T) {
	for _, how := range []func() error{
		func() error { return ErrRequeue },
		func() error { panic(ErrRequeue) },
	} {
		lives := 0
		s := newTest(t, scripted{
			start: func(*scripted) error { lives++; return nil },
			receive: each(func(_ *scripted, e *Envelope) error {
				if e.Message == "good" {
					e.Reply(nil, nil)
					return nil
				}
				return how()
			}),
		}, Options{})
		_, err := s.Request(t.Context(), key, "bad")
		unavailable(t, err)
		ask(t, s, key, "good")
		if lives != 2 {
			t.Errorf("%d lives, want 2", lives)
		}
	}
}

func TestCause(t *testing.T) {
	s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
		if err, ok := e.Message.(error); ok {
			return err
		}
		panic(fmt.Errorf("in a panic: %w", errBroken))
	})}, Options{})
	_, err := s.Request(t.Context(), key, errBroken)
	if !errors.Is(err, errBroken) {
		t.Errorf("%v does not wrap what Receive returned", err)
	}
	_, err = s.Request(t.Context(), other, "panic")
	if p, ok := errors.AsType[*PanicError](err); !ok || len(p.Stack) == 0 || !errors.Is(err, errBroken) {
		t.Errorf("%v does not wrap the panic", err)
	}
}

// TestIsolation: an actor that breaks and one that hangs do nothing to a third.
func TestIsolation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newTest(t, scripted{receive: each(func(s *scripted, e *Envelope) error {
			switch s.key.Room {
			case "hangs":
				<-release
			case "breaks":
				panic("oh no")
			}
			e.Reply(s.life, nil)
			return nil
		})}, Options{})
		life := ask(t, s, key, 1)
		mustSend(t, s, Key{"rooms", "hangs"}, 1, nil)
		mustSend(t, s, Key{"rooms", "breaks"}, 1, nil)
		synctest.Wait()
		if got := ask(t, s, key, 2); got != life {
			t.Errorf("life %v became %v", life, got)
		}
		close(release)
	})
}

// TestBackoff goes through a schedule of failures with the clock in hand.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newClock()
		s := newTest(t, scripted{receive: each(func(s *scripted, e *Envelope) error {
			if e.Message == "bad" {
				return errBroken
			}
			e.Reply(s.life, nil)
			return nil
		})}, Options{Now: c.Now, Backoff: Backoff{Min: time.Second, Max: 5 * time.Second, Reset: 10 * time.Second}})
		fail := func(want time.Duration) {
			t.Helper()
			_, err := s.Request(t.Context(), key, "bad")
			if u := unavailable(t, err); u.RetryAfter != want {
				t.Fatalf("backs off for %v, want %v", u.RetryAfter, want)
			}
			synctest.Wait()
			if got := s.Awake(); (got == 1) != (want == 0) {
				t.Fatalf("with a delay of %v %d actors are awake", want, got)
			}
		}
		down := func(want time.Duration) {
			t.Helper()
			u := unavailable(t, s.Send(key, "good", func(any, error) { t.Error("reply of a refused Send") }))
			if u.RetryAfter != want || u.Cause != errBroken {
				t.Fatalf("got %#v, want %v", u, want)
			}
		}
		fail(0) // the first one: at once
		if got := ask(t, s, key, "good"); got != uint64(2) {
			t.Errorf("served by life %v, want 2", got)
		}
		fail(1 * time.Second)
		down(1 * time.Second)
		c.add(999 * time.Millisecond)
		down(1 * time.Millisecond)
		c.add(time.Millisecond)
		fail(2 * time.Second)
		c.add(2 * time.Second)
		fail(4 * time.Second)
		c.add(4 * time.Second)
		fail(5 * time.Second) // Max
		c.add(5 * time.Second)
		fail(5 * time.Second)

		c.add(5 * time.Second) // a life that gets old enough has a clean record
		ask(t, s, key, "good")
		c.add(10 * time.Second)
		fail(0)
		fail(1 * time.Second)

		c.add(11 * time.Second) // so has one that was left alone
		fail(0)
		fail(1 * time.Second)

		if err := s.Stop(t.Context(), key); err != nil { // so has one that was stopped
			t.Fatal(err)
		}
		checkEmpty(t, s)
		fail(0)
	})
}

// TestBackoffSpared: a failure that is a sender's has no delay, however often it comes, and does not count for others.
func TestBackoffSpared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTest(t, scripted{receive: each(func(s *scripted, e *Envelope) error {
			switch e.Message {
			case "bad":
				return errBroken
			case "theirs":
				return fmt.Errorf("%w: %w", ErrSpared, errBroken)
			}
			e.Reply(s.life, nil)
			return nil
		})}, Options{Now: newClock().Now})
		for i, step := range []struct {
			message string
			want    time.Duration
		}{{"theirs", 0}, {"theirs", 0}, {"theirs", 0}, {"bad", 0}, {"theirs", 0}, {"bad", 100 * time.Millisecond}} {
			_, err := s.Request(t.Context(), key, step.message)
			if u := unavailable(t, err); u.RetryAfter != step.want {
				t.Errorf("step %d: backs off for %v, want %v", i, u.RetryAfter, step.want)
			}
			synctest.Wait()
		}
	})
}

// TestBackoffRefusesQueue: going down, an actor refuses what is queued.
func TestBackoffRefusesQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hold := make(chan struct{})
		r := newReplies(t)
		s := newTest(t, scripted{receive: func(*scripted, []*Envelope) error {
			<-hold
			return errBroken
		}}, Options{MaxBatch: 1, Now: newClock().Now})
		for i := range 5 {
			mustSend(t, s, key, i, r.to(i))
		}
		close(hold)
		synctest.Wait()
		r.complete()
		if u := unavailable(t, r.err(0)); u.RetryAfter != 0 {
			t.Errorf("the first: %v", u)
		}
		for i := 1; i < 5; i++ {
			if u := unavailable(t, r.err(i)); u.RetryAfter != 100*time.Millisecond || u.Cause != errBroken {
				t.Errorf("%d: %v", i, u)
			}
		}
		if s.Awake() != 0 {
			t.Error("it is awake")
		}
	})
}

func TestFailedStart(t *testing.T) {
	for name, how := range breaks {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newClock()
				fails, hold := true, make(chan struct{})
				r := newReplies(t)
				s := newTest(t, scripted{
					start: func(*scripted) error {
						<-hold
						if fails {
							return breakBy(how)
						}
						return nil
					},
					stop: func(_ *scripted, reason StopReason) {
						if fails {
							t.Error("Stop of a life that did not begin")
						}
					},
				}, Options{Now: c.Now})
				for i := range 3 {
					mustSend(t, s, key, i, r.to(i))
				}
				close(hold)
				synctest.Wait()
				r.complete()
				for i := range 3 {
					if u := unavailable(t, r.err(i)); u.RetryAfter != 100*time.Millisecond || u.Cause == nil {
						t.Errorf("%d: %v", i, u)
					}
				}
				unavailable(t, s.Send(key, 3, nil))
				c.add(100 * time.Millisecond)
				_, err := s.Request(t.Context(), key, 4)
				if u := unavailable(t, err); u.RetryAfter != 200*time.Millisecond {
					t.Errorf("the second time it backs off for %v", u.RetryAfter)
				}
				c.add(200 * time.Millisecond)
				synctest.Wait()
				fails = false
				ask(t, s, key, 5)
			})
		})
	}
}

// TestFactoryPanics: a factory that panics is a failed start.
func TestFactoryPanics(t *testing.T) {
	s := NewSystem(func(Key, uint64) Behavior { panic("no behavior") }, Options{Logger: discard()})
	_, err := s.Request(t.Context(), key, 1)
	unavailable(t, err)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	checkEmpty(t, s)
}

// TestStopPanics: a life whose Stop breaks is over all the same.
func TestStopPanics(t *testing.T) {
	for _, how := range []func(){breaks["panic"], breaks["goexit"]} {
		s := newTest(t, scripted{stop: func(*scripted, StopReason) { breakBy(how) }}, Options{})
		ask(t, s, key, 1)
		if err := s.Stop(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		checkEmpty(t, s)
		ask(t, s, key, 2)
	}
}

// TestReplyPanics: a reply function that panics while a batch is refused takes neither
// the process down nor the other answers away.
func TestReplyPanics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newReplies(t)
		hold := make(chan struct{})
		s := newTest(t, scripted{start: func(*scripted) error { <-hold; return errBroken }}, Options{})
		mustSend(t, s, key, 1, func(any, error) { panic("in a reply") })
		mustSend(t, s, key, 2, r.to(2))
		close(hold)
		synctest.Wait()
		r.complete()
	})
}

// TestRestingIsBounded: the records of actors that back off go away by themselves when
// others come, however many there were.
func TestRestingIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newClock()
		s := newTest(t, scripted{start: func(*scripted) error { return errBroken }}, Options{Now: c.Now})
		const perRound = 2000
		for round := range 20 {
			for i := range perRound {
				s.Send(Key{"rooms", fmt.Sprint(round, ".", i)}, 1, nil)
			}
			synctest.Wait()
			c.add(time.Minute)
		}
		n := 0
		for i := range s.shards {
			n += len(s.shards[i].resting)
		}
		if n < perRound || n > 2*perRound {
			t.Errorf("%d records are kept, of which %d are fresh", n, perRound)
		}
	})
}

// TestSweepTakesFour: who makes or finds a record drops up to four that are forgotten, and no others.
func TestSweepTakesFour(t *testing.T) {
	c := newClock()
	s := newTest(t, scripted{}, Options{Now: c.Now, Backoff: Backoff{Reset: 10 * time.Second}})
	var sh shard
	sh.resting = make(map[Key]rest)
	for i := range 10 {
		sh.resting[Key{"old", fmt.Sprint(i)}] = rest{until: c.Now().Add(-10 * time.Second)}
	}
	for _, left := range []int{6, 2, 0, 0} {
		if s.sweep(&sh, c.Now()); len(sh.resting) != left {
			t.Errorf("%d records are left, want %d", len(sh.resting), left)
		}
	}
	for i := range 4 {
		sh.resting[Key{"new", fmt.Sprint(i)}] = rest{until: c.Now().Add(-10*time.Second + 1)}
	}
	if s.sweep(&sh, c.Now()); len(sh.resting) != 4 {
		t.Errorf("%d records are left that are not forgotten, want 4", len(sh.resting))
	}
}

// What a behavior has reported itself is logged only at Debug; a panic is
// told all the same.
func TestReportedFailures(t *testing.T) {
	for _, c := range []struct {
		start func() error
		want  string
	}{
		{func() error { return errors.New("not said yet") }, "level=ERROR"},
		{func() error { return fmt.Errorf("said: %w", ErrReported) }, "level=DEBUG"},
		{func() error { panic(ErrReported) }, "level=ERROR"},
	} {
		var log syncBuffer
		o := Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		s := NewSystem(func(Key, uint64) Behavior {
			return &scripted{start: func(*scripted) error { return c.start() }}
		}, o)
		if _, err := s.Request(t.Context(), Key{"n", "r"}, 1); !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(log.Bytes())) {
			if strings.Contains(line, "an actor failed") && !strings.Contains(line, c.want) {
				t.Errorf("want %s, the log has %s", c.want, line)
			}
		}
		if !strings.Contains(string(log.Bytes()), "an actor failed") {
			t.Error("the log has nothing of it")
		}
	}
}
