package actor

import (
	"errors"
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
		if s.Retire(key, 1) != nil {
			t.Error("a life was retired in its work")
		}
		close(release)
		synctest.Wait()
		if s.Retire(key, 2) != nil || s.Retire(other, 1) != nil {
			t.Error("a life was retired that is not there")
		}
		ended := s.Retire(key, 1)
		if ended == nil {
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
		s.Retire(key, 1)
		<-stopping
		var order []any
		for _, m := range []string{"first", "second", "third"} {
			mustSend(t, s, key, m, func(v any, err error) { order = append(order, m, v, err) })
		}
		synctest.Wait()
		if len(order) != 0 || s.Retire(key, 1) != nil {
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
				ended := s.Retire(key, 1)
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
