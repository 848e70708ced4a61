package actor

import (
	"testing"
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
