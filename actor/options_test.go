package actor

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// What Options say of their defaults is so, for what is zero as for what is below.
func TestDefaults(t *testing.T) {
	for _, none := range []int{0, -1} {
		o := Options{MailboxSize: none, MailboxBytes: none, MaxBatch: none, FirstBatch: none}
		o.Backoff = Backoff{Min: time.Duration(none), Max: time.Duration(none), Reset: time.Duration(none)}
		o.setDefaults()
		if o.MailboxSize != 1024 || o.MailboxBytes != 16<<20 || o.MaxBatch != 256 || o.FirstBatch != 256 {
			t.Errorf("of the inbox: %d messages, %d bytes, batches of %d and %d", o.MailboxSize, o.MailboxBytes, o.FirstBatch, o.MaxBatch)
		}
		if want := (Backoff{Min: 100 * time.Millisecond, Max: 30 * time.Second, Reset: 10 * time.Second}); o.Backoff != want {
			t.Errorf("of the back-off: %+v, want %+v", o.Backoff, want)
		}
		if err := o.Admit(1); err != nil || o.Now == nil || o.Logger == nil {
			t.Errorf("nobody counts, and refuses: %v", err)
		}
		o.Keep(1)
		o.Release(1)
	}
	o := Options{MailboxSize: 1, MailboxBytes: 2, MaxBatch: 3, FirstBatch: 4, Backoff: Backoff{Min: 5, Max: 6, Reset: 7}}
	o.setDefaults()
	if o.MailboxSize != 1 || o.MailboxBytes != 2 || o.MaxBatch != 3 || o.FirstBatch != 3 || o.Backoff != (Backoff{Min: 5, Max: 6, Reset: 7}) {
		t.Errorf("what was said became %+v", o)
	}
}

// The delay doubles up to Max, whatever Max is of Min.
func TestBackoffDelay(t *testing.T) {
	for _, c := range []struct {
		b    Backoff
		want []time.Duration
	}{
		{Backoff{Min: 1, Max: 8}, []time.Duration{1, 2, 4, 8, 8, 8}},
		{Backoff{Min: 1, Max: 9}, []time.Duration{1, 2, 4, 9, 9}},
		{Backoff{Min: 3, Max: 20}, []time.Duration{3, 6, 12, 20, 20}},
		{Backoff{Min: 3, Max: 2}, []time.Duration{2, 2}},
	} {
		for doublings, want := range c.want {
			if got := c.b.delay(doublings); got != want {
				t.Errorf("%+v: %d after %d doublings, want %d", c.b, got, doublings, want)
			}
		}
	}
	if got := (Backoff{Min: time.Millisecond, Max: 1<<63 - 1}).delay(1000); got != 1<<63-1 {
		t.Errorf("after a thousand doublings: %v", got)
	}
}

// Whoever counts bytes is asked for those of a message before it is queued, and may refuse it; is told of those of one that cannot be
// refused; and gets each back once, before the message's reply function is called, however the message ends.
func TestBytesAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const most = 100
		admitted, kept, inUse := 0, 0, 0
		release := make(chan struct{})
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			<-release
			e.Reply(nil, nil)
			e.Reply(nil, nil)
			return nil
		})}, Options{
			Admit: func(n int) error {
				if inUse+n > most {
					return errBroken
				}
				admitted, inUse = admitted+n, inUse+n
				return nil
			},
			Keep:    func(n int) { kept, inUse = kept+n, inUse+n },
			Release: func(n int) { inUse -= n },
		})
		var after []int // what was in use when a reply function was called
		send := func(how func(Key, any, func(any, error)) error, size int) error {
			return how(key, letter{from: 1, size: size}, func(any, error) { after = append(after, inUse) })
		}
		if err := send(s.Send, 60); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := send(s.Send, 41); err != errBroken {
			t.Errorf("more than there is: %v", err)
		}
		if _, err := s.SendOrWait(key, letter{from: 2, size: 41}, nil); err != errBroken {
			t.Errorf("more than there is: %v", err)
		}
		if err := send(s.Send, 40); err != nil {
			t.Errorf("all that there is: %v", err)
		}
		if err := send(s.Push, 7); err != nil {
			t.Errorf("what cannot be refused: %v", err)
		}
		if err := send(s.SendAwake, 3); err != nil {
			t.Errorf("what cannot be refused: %v", err)
		}
		if err := send(s.Send, 0); err != nil {
			t.Errorf("a message of no bytes: %v", err)
		}
		if admitted != 100 || kept != 10 || inUse != 110 {
			t.Errorf("%d bytes were admitted and %d kept, %d are in use; want 100, 10, 110", admitted, kept, inUse)
		}
		close(release)
		synctest.Wait()
		if want := []int{50, 10, 3, 0, 0}; !slices.Equal(after, want) {
			t.Errorf("in use after each message: %v, want %v", after, want)
		}
	})
}
