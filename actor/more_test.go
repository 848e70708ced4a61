package actor

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

// asking is a Behavior of one function, which may ask for more messages.
type asking func(batch []*Envelope, more func(n int) []*Envelope)

func (a asking) Start(context.Context, any) error { return nil }
func (a asking) Stop(StopReason)                  {}
func (a asking) Abandon()                         {}

func (a asking) Receive(batch []*Envelope, more func(n int) []*Envelope) error {
	a(batch, more)
	return nil
}

// taken notes what a Receive was given, and answers it.
func taken(batches [][]*Envelope) (all []string) {
	for _, batch := range batches {
		for _, e := range batch {
			l := e.Message.(letter)
			all = append(all, fmt.Sprint(l.from, ".", l.number))
			e.Reply(nil, nil)
		}
	}
	return all
}

// asked runs an actor that is sent letters while it is in its first Receive, and gives what each Receive was given.
func asked(t *testing.T, o Options, letters []letter, ask func(more func(n int) []*Envelope) [][]*Envelope, meanwhile ...letter) (got [][]string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		first, entered, release := true, make(chan struct{}), make(chan struct{})
		send := func(s *System, l letter) {
			if err := s.Send(key, l, nil); err != nil {
				t.Fatal(err)
			}
		}
		var s *System
		o.Logger = discard()
		s = NewSystem(func(Key, uint64) Behavior {
			return asking(func(batch []*Envelope, more func(n int) []*Envelope) {
				if first {
					first = false
					close(entered)
					<-release
					taken([][]*Envelope{batch})
					return
				}
				if meanwhile != nil {
					for _, l := range meanwhile {
						send(s, l)
					}
					meanwhile = nil
				}
				got = append(got, taken(append([][]*Envelope{batch}, ask(more)...)))
			})
		}, o)
		send(s, letter{from: 99})
		<-entered
		for _, l := range letters {
			send(s, l)
		}
		close(release)
		synctest.Wait()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
	return got
}

func letters(from uint64, n int) (all []letter) {
	for i := range n {
		all = append(all, letter{from: from, number: i})
	}
	return all
}

// TestWhatIsLeftTakesItsTurn: what Receive does not ask for stays in the mailbox. A sender that comes meanwhile with one message
// does not wait for it.
func TestWhatIsLeftTakesItsTurn(t *testing.T) {
	none := func(func(int) []*Envelope) [][]*Envelope { return nil }
	got := asked(t, Options{FirstBatch: 2}, letters(1, 6), none, letter{from: 2})
	if want := "[[1.0 1.1] [2.0 1.2] [1.3 1.4] [1.5]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// TestMore: Receive may ask for what had queued up when it was called, up to MaxBatch, bit by bit.
func TestMore(t *testing.T) {
	all := func(more func(int) []*Envelope) (bits [][]*Envelope) {
		for bit := more(2); len(bit) > 0; bit = more(2) {
			bits = append(bits, bit)
		}
		return bits
	}
	got := asked(t, Options{FirstBatch: 1, MaxBatch: 4}, letters(1, 6), all)
	if want := "[[1.0 1.1 1.2 1.3] [1.4 1.5]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
	got = asked(t, Options{FirstBatch: 1}, letters(1, 3), all, letters(1, 5)[3:]...)
	if want := "[[1.0 1.1 1.2] [1.3 1.4]]"; fmt.Sprint(got) != want {
		t.Errorf("with two that came meanwhile: got %v, want %s", got, want)
	}
}

// TestMoreThanThereIs: what was asked for when Receive has returned is nothing, and an actor that is stopped serves what had
// queued up until then, and nothing else.
func TestMoreThanThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *System
		var stale func(int) []*Envelope
		served, stopped := 0, make(chan error, 1)
		s = NewSystem(func(Key, uint64) Behavior {
			return asking(func(batch []*Envelope, more func(n int) []*Envelope) {
				if stale == nil { // the first time: three wait, and two come after the stop was asked for
					stale = more
					for i := range 3 {
						_ = s.Send(key, letter{from: 1, number: i}, nil)
					}
					go func() { stopped <- s.Stop(context.Background(), key) }()
					awaitStop(s)
					for i := range 2 {
						_ = s.Send(key, letter{from: 2, number: i}, nil)
					}
					taken([][]*Envelope{batch})
					return
				}
				if got := more(100); len(batch)+len(got) != 3 && served == 0 {
					t.Errorf("the stop was asked for with 3 messages waiting, and %d were served", len(batch)+len(got))
				} else {
					taken([][]*Envelope{got})
				}
				served++
				taken([][]*Envelope{batch})
			})
		}, Options{FirstBatch: 1, Logger: discard()})
		if err := s.Send(key, letter{from: 9}, nil); err != nil {
			t.Fatal(err)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := stale(1); got != nil {
			t.Errorf("a Receive that has returned was given %d more", len(got))
		}
		if err := s.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

// awaitStop returns when a stop of the actor has been asked for.
func awaitStop(s *System) {
	for asked := false; !asked; {
		c := s.find(key)
		asked = c.stop != nil
		c.mu.Unlock()
	}
}
