package actor

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// mustWait sends a message for which there is no place.
func mustWait(t *testing.T, s *System, msg any) *Waiting {
	t.Helper()
	w, err := s.SendOrWait(key, msg, nil)
	if err != nil || w == nil {
		t.Fatalf("%v does not wait: %v", msg, err)
	}
	return w
}

// waits reports whether a message still waits.
func waits(w *Waiting) bool {
	synctest.Wait()
	select {
	case <-w.Over():
		return false
	default:
		return true
	}
}

// What waits for a place gets each one that becomes free, in the order in which it came, and before what comes later. What must get in gets in.
func TestWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		var got []any
		r := newReplies(t)
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			<-release
			got = append(got, e.Message)
			e.Reply(nil, nil)
			return nil
		})}, Options{MailboxSize: 3, MaxBatch: 1})
		if w, err := s.SendOrWait(key, "in work", r.to("in work")); w != nil || err != nil {
			t.Errorf("a message to an actor that sleeps: %v, %v", w, err)
		}
		synctest.Wait()
		for i := range 3 {
			mustSend(t, s, key, i, r.to(i))
		}
		if err := s.Push(key, 3, r.to(3)); err != nil {
			t.Errorf("Push to a full inbox: %v", err)
		}
		if err := s.SendAwake(key, 4, r.to(4)); err != nil {
			t.Errorf("SendAwake to a full inbox: %v", err)
		}
		one, gone, two := mustWait(t, s, "one"), mustWait(t, s, "gone"), mustWait(t, s, "two")
		if !gone.TakeBack() || gone.TakeBack() {
			t.Error("what waits can be taken back, once")
		}
		for range 2 {
			release <- struct{}{}
		}
		if !waits(one) {
			t.Error("there is room while as many wait as may")
		}
		release <- struct{}{}
		if waits(one) || !waits(two) {
			t.Error("one place was made, and the first did not get it, or the second did")
		}
		if one.Err() != nil || one.TakeBack() {
			t.Errorf("queued with %v, or taken back afterwards", one.Err())
		}
		if err := s.Send(key, "late", nil); !errors.Is(err, ErrOverloaded) {
			t.Errorf("who came later: %v", err)
		}
		close(release)
		if waits(two) {
			t.Error("the second did not get a place")
		}
		synctest.Wait()
		c := s.find(key)
		if c.waiting != nil {
			t.Errorf("nobody waits, and there is still memory for %d", cap(c.waiting))
		}
		c.mu.Unlock()
		r.complete()
		if want := []any{"in work", 0, 1, 2, 3, 4, "one", "two"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// A request waits for a place until its context ends, and then was not sent.
func TestRequestWhenVacant(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			<-release
			e.Reply(e.Message, nil)
			return nil
		})}, Options{MailboxSize: 1, MaxBatch: 1})
		mustSend(t, s, key, "in work", nil)
		synctest.Wait()
		mustSend(t, s, key, "waits", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		placed := 0
		if _, err := s.RequestWhenVacant(ctx, key, "too late", func() { placed++ }); !errors.Is(err, ErrOverloaded) || placed != 1 {
			t.Errorf("got %v, placed %d times", err, placed)
		}
		answer := make(chan any, 1)
		go func() {
			v, err := s.RequestWhenVacant(t.Context(), key, "asked", func() { placed++ })
			answer <- []any{v, err}
		}()
		synctest.Wait()
		if placed != 1 {
			t.Error("placed while it waits")
		}
		close(release)
		if got := (<-answer).([]any); got[0] != "asked" || got[1] != nil || placed != 2 {
			t.Errorf("got %v, placed %d times", got, placed)
		}
	})
}

// Waiting messages are refused like queued ones if the actor backs off, and with ErrStopped if the system is shut down.
func TestWaitingEnds(t *testing.T) {
	for name, shut := range map[string]bool{"back-off": false, "shutdown": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				release := make(chan struct{})
				s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
					<-release
					if shut {
						e.Reply(nil, nil)
						return nil
					}
					return errBroken
				})}, Options{MailboxSize: 1, MaxBatch: 1, Logger: discard()})
				for i := range 2 {
					mustSend(t, s, key, i, nil)
					synctest.Wait()
				}
				refused := make(chan error, 1)
				w, err := s.SendOrWait(key, "waits", func(_ any, err error) { refused <- err })
				if w == nil || err != nil {
					t.Fatal(err)
				}
				if shut {
					go s.Shutdown(t.Context())
					synctest.Wait()
				}
				close(release)
				<-w.Over()
				switch {
				case shut && !errors.Is(w.Err(), ErrStopped):
					t.Errorf("it ended with %v", w.Err())
				case !shut && w.Err() != nil:
					t.Errorf("it ended with %v", w.Err())
				case !shut:
					if err := <-refused; err == nil {
						t.Error("it was served")
					}
				}
			})
		})
	}
}
