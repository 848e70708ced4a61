package actor

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
)

// letter is a message of a sender's.
type letter struct {
	from   uint64
	number int
	size   int
}

func (l letter) Sender() uint64 { return l.from }
func (l letter) Size() int      { return l.size }

// ending is a message that comes after all others.
type ending struct{}

func (ending) Last() {}

func numbers(batch []*Envelope, from uint64) (of []int) {
	for _, e := range batch {
		if l, is := e.Message.(letter); is && l.from == from {
			of = append(of, l.number)
		}
	}
	return of
}

// However senders mix, each one's messages keep their order, none is lost or comes twice, and the counts are right.
func TestInboxOrder(t *testing.T) {
	seed := seeded(t)
	rnd := rand.New(rand.NewPCG(seed, 1))
	var b inbox
	var put, took [40]int
	count, bytes := 0, 0
	take := func(n int) {
		batch := b.take(nil, n)
		for _, e := range batch {
			l := e.Message.(letter)
			if l.number != took[l.from] {
				t.Fatalf("sender %d: got %d, want %d", l.from, l.number, took[l.from])
			}
			took[l.from]++
		}
		back := batch[len(batch)-rnd.IntN(len(batch)+1):]
		if rnd.IntN(3) > 0 {
			back = nil
		}
		b.putBack(back)
		for _, e := range back {
			took[e.Message.(letter).from]--
		}
		for _, e := range batch[:len(batch)-len(back)] {
			count, bytes = count-1, bytes-e.bytes
		}
	}
	for range 3000 {
		switch n := rnd.IntN(10); {
		case n < 6:
			from := rnd.IntN(1 + rnd.IntN(len(put)))
			e := envelope(letter{uint64(from), put[from], rnd.IntN(1 << rnd.IntN(18))})
			put[from]++
			b.put(e)
			count, bytes = count+1, bytes+e.bytes
		case n < 7:
			b.settle()
		default:
			take(rnd.IntN(12))
		}
		if b.count != count || b.bytes != bytes {
			t.Fatalf("counts %d of %d bytes, want %d of %d", b.count, b.bytes, count, bytes)
		}
	}
	for b.len() > 0 {
		take(b.len())
	}
	if put != took || b.bytes != 0 || b.ahead != (chain{}) || b.last != nil || b.lines != 0 || b.index != nil || b.spares != keepLines {
		t.Errorf("sent %v, served %v, left %+v", put, took, b)
	}
}

// A sender that comes after sixteen that flood the inbox is served within one turn of each, whether their messages
// are many or large.
func TestInboxTurns(t *testing.T) {
	const flooders = 16
	for _, size := range []int{0, 100, 1 << 20} {
		var b inbox
		for i := range 200 {
			for from := range uint64(flooders) {
				b.put(envelope(letter{from + 1, i, size}))
			}
		}
		b.take(nil, 100)
		b.put(envelope(letter{99, 0, 100}))
		before := slices.IndexFunc(b.take(nil, b.len()), func(e *Envelope) bool { return e.sender == 99 })
		if before < 0 || before > flooders {
			t.Errorf("with messages of %d bytes: %d are served before the one of who came last, want %d at most", size, before, flooders)
		}
	}
}

// Large messages cost more turns than small ones.
func TestInboxTurnsByBytes(t *testing.T) {
	var b inbox
	for i := range 100 {
		b.put(envelope(letter{1, i, 8 << 10}))
		b.put(envelope(letter{2, i, 10}))
	}
	batch := b.take(nil, 100)
	if large, small := len(numbers(batch, 1)), len(numbers(batch, 2)); large < 5 || small < 5*large {
		t.Errorf("served %d large and %d small messages", large, small)
	}
}

// Senders have equal shares of an inbox, in messages and in bytes, and leave place for one who comes later.
func TestInboxShares(t *testing.T) {
	for _, c := range []struct {
		name  string
		most  limit
		size  int
		share int // of each of three
	}{
		{"messages", limit{400, 1 << 30}, 100, 100},
		{"bytes", limit{1 << 20, 400 << 10}, 1 << 10, 100},
	} {
		var b inbox
		had := map[uint64]int{}
		for range 1000 {
			for from := uint64(1); from <= 3; from++ {
				if e := envelope(letter{from, 0, c.size}); b.admits(e, c.most) {
					b.put(e)
					had[from]++
				}
			}
		}
		for from, n := range had {
			if n < c.share-2 || n > c.share+1 {
				t.Errorf("%s: sender %d has %d waiting, want %d", c.name, from, n, c.share)
			}
		}
		late := envelope(letter{9, 0, c.size})
		for range c.share / 4 {
			if !b.admits(late, c.most) {
				t.Fatalf("%s: no place for who comes late", c.name)
			}
			b.put(envelope(letter{9, 0, c.size}))
		}
	}
	var b inbox
	if huge := envelope(letter{1, 0, 1 << 30}); !b.admits(huge, limit{1, 1}) {
		t.Error("an empty inbox does not take a large message")
	}
}

// Who is over its share waits, others do not.
func TestWaitingBySender(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			<-release
			e.Reply(nil, nil)
			return nil
		})}, Options{MailboxSize: 8, MaxBatch: 1})
		send := func(from uint64) error { return s.Send(key, letter{from: from}, nil) }
		if err := send(1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		sent := 0
		for send(1) == nil {
			sent++
		}
		if sent != 4 {
			t.Errorf("one sender has %d waiting, want half of 8", sent)
		}
		if _, err := s.SendOrWait(key, letter{from: 2}, nil); err != nil {
			t.Errorf("who has nothing waiting: %v", err)
		}
		one := mustWait(t, s, letter{from: 1})
		synctest.Wait()
		select {
		case <-one.Over():
			t.Error("who is over its share has a place")
		default:
		}
		release <- struct{}{}
		release <- struct{}{}
		if <-one.Over(); one.Err() != nil {
			t.Errorf("got %v", one.Err())
		}
		close(release)
	})
}

// What is settled is not overtaken: a Last message comes after all that was sent before, and Stop serves what was queued.
func TestLast(t *testing.T) {
	bubble(t, func(t *testing.T) {
		release := make(chan struct{})
		var got []any
		s := newTest(t, scripted{receive: each(func(_ *scripted, e *Envelope) error {
			<-release
			got = append(got, e.Message)
			e.Reply(nil, nil)
			return nil
		})}, Options{MaxBatch: 1})
		mustSend(t, s, key, letter{from: 1}, nil)
		synctest.Wait()
		for i := range 5 {
			mustSend(t, s, key, letter{1, i + 1, 0}, nil)
		}
		mustSend(t, s, key, ending{}, nil)
		mustSend(t, s, key, letter{2, 0, 0}, nil)
		close(release)
		synctest.Wait()
		if at := slices.Index(got, any(ending{})); at != 6 || got[7] != any(letter{2, 0, 0}) {
			t.Errorf("served %v", got)
		}
	})
}

// TestInboxFavoursShortLines: a sender with one message waiting does not wait for those with many, and these are not starved by many
// who have one.
func TestInboxFavoursShortLines(t *testing.T) {
	var b inbox
	put := func(from uint64, numbers, size int) {
		for i := range numbers {
			b.put(envelope(letter{from, i, size}))
		}
	}
	order := func() (all []uint64) {
		for _, e := range b.take(nil, b.len()) {
			all = append(all, e.Message.(letter).from)
		}
		return all
	}
	for from := range uint64(20) {
		put(from+1, 10, 0)
	}
	b.take(nil, 30) // they are in the middle of a round
	put(100, 1, 0)
	put(101, 1, maxFresh*costBytes) // it is no short one
	if got := order(); got[0] != 100 || slices.Index(got, 101) < 20 {
		t.Errorf("the one message was served in place %d, and the long one in place %d", slices.Index(got, 100), slices.Index(got, 101))
	}
	put(1, 3, 0)
	for from := range uint64(3 * favour) {
		put(from+10, 1, 0)
	}
	got := order()
	for i := range 3 {
		if at := (i+1)*(favour+1) - 1; got[at] != 1 {
			t.Errorf("in place %d is a message of %d; those who have one message lock out the one who has three: %v", at, got[at], got)
		}
	}
}
