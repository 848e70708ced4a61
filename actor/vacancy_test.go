package actor

import (
	"testing"
	"testing/synctest"
)

// Who waits for a full inbox hears of it when there is room, and what must get in gets in.
func TestVacant(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newReplies(t)
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			<-release
			e.Reply(nil, nil)
			return nil
		})}, Options{MailboxSize: 3, MaxBatch: 1})
		isVacant := func(ch <-chan struct{}) bool {
			synctest.Wait()
			select {
			case <-ch:
				return true
			default:
				return false
			}
		}
		if !isVacant(s.Vacant(key, nil)) {
			t.Error("an actor that sleeps has no room")
		}
		mustSend(t, s, key, "in work", r.to("in work"))
		synctest.Wait()
		for i := range 3 {
			if !isVacant(s.Vacant(key, nil)) {
				t.Errorf("no room beside %d", i)
			}
			mustSend(t, s, key, i, r.to(i))
		}
		if err := s.Push(key, 3, r.to(3)); err != nil {
			t.Errorf("Push to a full inbox: %v", err)
		}
		if err := s.SendAwake(key, 4, r.to(4)); err != nil {
			t.Errorf("SendAwake to a full inbox: %v", err)
		}
		one, other := s.Vacant(key, nil), s.Vacant(key, nil)
		if isVacant(one) || isVacant(other) {
			t.Error("a full inbox has room")
		}
		for range 2 {
			release <- struct{}{}
		}
		if isVacant(one) {
			t.Error("there is room while as many wait as may")
		}
		release <- struct{}{}
		if !isVacant(one) {
			t.Error("nobody was told that there is room")
		}
		if isVacant(other) {
			t.Error("two were told of one place")
		}
		release <- struct{}{}
		if !isVacant(other) {
			t.Error("the second who waits was not told that there is room")
		}
		close(release)
		synctest.Wait()
		r.complete()
	})
}

// An actor that ends with a full inbox lets nobody wait for it.
func TestVacantEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newTest(t, scripted{receive: each(func(*scripted, *Envelope) error {
			<-release
			return errBroken
		})}, Options{MailboxSize: 1, MaxBatch: 1, Logger: discard()})
		for i := range 2 {
			mustSend(t, s, key, i, nil)
			synctest.Wait()
		}
		vacant := s.Vacant(key, nil)
		close(release)
		<-vacant
	})
}
