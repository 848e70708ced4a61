package actor

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestRetire: a life that has nothing to do ends, and nothing of the actor is left; one that
// has something to do, or is another one by now, is left alone.
func TestRetire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		var reasons []StopReason
		b := hanging("receive", release)
		b.stop = func(_ *scripted, reason StopReason) { reasons = append(reasons, reason) }
		s := newTest(t, b, Options{})
		mustSend(t, s, key, "hangs", nil)
		synctest.Wait()
		mustSend(t, s, key, "queued", nil)
		if _, asked := s.Retire(key, 1); asked {
			t.Error("a life was retired that has more to do")
		}
		close(release)
		synctest.Wait()
		for k, life := range map[Key]uint64{key: 2, other: 1} {
			if _, asked := s.Retire(k, life); asked {
				t.Error("a life was retired that is not there")
			}
		}
		ended, asked := s.Retire(key, 1)
		if ended == nil || !asked {
			t.Fatal("an idle life was not retired")
		}
		<-ended
		if len(reasons) != 1 || reasons[0] != StopIdle {
			t.Errorf("stopped because %v", reasons)
		}
		checkEmpty(t, s)
		if got := ask(t, s, key, "more"); got != uint64(2) {
			t.Errorf("served by life %v, want 2", got)
		}
	})
}

// TestInvariantSingleWriterMessageAgainstRetire: what comes while a life ends for being idle is
// served by the next one, in order, and that one begins when the last has ended.
func TestInvariantSingleWriterMessageAgainstRetire(t *testing.T) {
	bubble(t, func(t *testing.T) {
		stopping, release := make(chan struct{}), make(chan struct{})
		over := false
		b := scripted{
			start: func(s *scripted) error {
				if s.life == 2 && (!over || s.first != "first") {
					t.Errorf("life 2 began for %v, the last one over: %v", s.first, over)
				}
				return nil
			},
			receive: each(func(s *scripted, e *Envelope) error { e.Reply(s.life, nil); return nil }),
			stop: func(s *scripted, _ StopReason) {
				if s.life == 1 {
					close(stopping)
					<-release
					over = true
				}
			},
		}
		s := newTest(t, b, Options{})
		if got := ask(t, s, key, "wake"); got != uint64(1) {
			t.Fatalf("served by life %v", got)
		}
		synctest.Wait()
		s.Retire(key, 1)
		<-stopping
		var order []any
		for _, m := range []string{"first", "second", "third"} {
			mustSend(t, s, key, m, func(v any, err error) { order = append(order, m, v, err) })
		}
		synctest.Wait()
		if _, asked := s.Retire(key, 1); asked || len(order) != 0 {
			t.Errorf("served while the last life was ending: %v", order)
		}
		close(release)
		synctest.Wait()
		want := []any{"first", uint64(2), nil, "second", uint64(2), nil, "third", uint64(2), nil}
		if len(order) != len(want) {
			t.Fatalf("got %v", order)
		}
		for i := range want {
			if order[i] != want[i] {
				t.Fatalf("got %v", order)
			}
		}
	})
}

// TestRetireInWork: a life that has a batch in work ends after it, unless something has come by then.
func TestRetireInWork(t *testing.T) {
	for _, more := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			release := make(chan struct{})
			s := newTest(t, hanging("receive", release), Options{})
			mustSend(t, s, key, "hangs", nil)
			synctest.Wait()
			if ended, asked := s.Retire(key, 1); ended != nil || !asked {
				t.Error("not asked to retire behind its work")
			}
			if more {
				mustSend(t, s, key, "more", nil)
			}
			close(release)
			synctest.Wait()
			if awake := s.Awake(); awake == 1 != more {
				t.Errorf("more: %v, %d awake", more, awake)
			}
		})
	}
}

// TestAbandonStop: a life whose Stop hangs is given up too, and its late return harms nobody.
func TestAbandonStop(t *testing.T) {
	for _, when := range []string{"after", "while"} {
		t.Run("Stop returns "+when, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				release, fence := make(chan struct{}), make(chan struct{})
				b := scripted{
					receive: each(func(s *scripted, e *Envelope) error { e.Reply(s.life, nil); return nil }),
					stop: func(s *scripted, _ StopReason) {
						if s.life == 1 {
							<-release
						}
					},
					abandon: func(*scripted) { <-fence },
				}
				s := newTest(t, b, Options{})
				ask(t, s, key, "wake")
				synctest.Wait() // it has answered, and is done
				ended, _ := s.Retire(key, 1)
				synctest.Wait()
				abandoned := make(chan bool, 1)
				go func() { abandoned <- s.Abandon(key, 1) }() // ends when fence is closed
				synctest.Wait()
				if when == "while" {
					close(release)
					synctest.Wait()
				}
				close(fence)
				if !<-abandoned {
					t.Error("not abandoned")
				}
				<-ended
				if got := ask(t, s, key, "more"); got != uint64(2) {
					t.Errorf("served by life %v, want 2", got)
				}
				if when == "after" {
					close(release)
					synctest.Wait()
				}
				if got := ask(t, s, key, "more"); got != uint64(2) {
					t.Errorf("served by life %v, want 2", got)
				}
			})
		})
	}
}

// TestStartIsTold: a life that follows one that broke, with nothing queued, was woken by nobody.
func TestStartIsTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var firsts []any
		b := scripted{
			start:   func(s *scripted) error { firsts = append(firsts, s.first); return nil },
			receive: each(func(*scripted, *Envelope) error { return errors.New("broken") }),
		}
		s := newTest(t, b, Options{})
		mustSend(t, s, key, "wake", nil)
		synctest.Wait()
		if len(firsts) != 2 || firsts[0] != "wake" || firsts[1] != nil {
			t.Errorf("the lives were told %v", firsts)
		}
	})
}

// TestQuiet: it waits for what is in work and queued, of all actors, and for lives that end.
func TestQuiet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newTest(t, hanging("receive", release), Options{})
		mustSend(t, s, key, "hangs", nil)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- s.Quiet(t.Context()) }() // ends when all is quiet
		synctest.Wait()
		select {
		case <-done:
			t.Fatal("it did not wait")
		default:
		}
		mustSend(t, s, other, "more", nil) // not the first life: it does not hang
		close(release)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ended, _ := s.Retire(key, 1)
		<-ended
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Quiet(ctx); err != nil {
			t.Errorf("all is quiet: %v", err)
		}
	})
}

// givesUp is a context that has ended, and calls asked when somebody asks why.
type givesUp struct {
	context.Context
	asked func()
}

func (g givesUp) Err() error {
	g.asked()
	return g.Context.Err()
}

func TestQuietGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newTest(t, hanging("receive", release), Options{})
		mustSend(t, s, key, "hangs", nil)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Quiet(givesUp{ctx, sync.OnceFunc(func() { close(release) })}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v while an actor hangs", err)
		}
	})
}
