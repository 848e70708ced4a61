package hibernate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// slowPupil is a link with a queue: what it was sent waits until it reads.
type slowPupil struct {
	pupil
	queue []*Frame
	then  []func()
	most  int // frames that waited at a time
}

func (p *slowPupil) SendThen(then func(), frames ...*Frame) (waits bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue, p.then = append(p.queue, frames...), append(p.then, then)
	p.most = max(p.most, len(p.queue))
	return true
}

// read takes what waits, and says so.
func (p *slowPupil) read() (frames int) {
	p.mu.Lock()
	queue, then := p.queue, p.then
	p.queue, p.then = nil, nil
	p.mu.Unlock()
	p.pupil.Send(queue...)
	for _, f := range then {
		f()
	}
	return len(queue)
}

func joinSlow(r *Registry) (*Connection, *slowPupil) {
	link := new(slowPupil)
	return named(&Connection{Serial: r.Serial(), Link: link}), link
}

// TestInvariantBoundedPresence: a peer that shows something new all the time makes no more than one frame wait for a client that
// does not read, which has the newest once it does.
func TestInvariantBoundedPresence(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	flooder := joinDeaf(&r)
	other := joinDeaf(&r)
	slow, link := joinSlow(&r)
	mustShow(t, &p, key, slow, `"slow"`)
	link.read()
	for n := range 10_000 {
		mustShow(t, &p, key, flooder, fmt.Sprint(n))
		if n == 5000 {
			mustShow(t, &p, key, other, "1")
		}
	}
	if link.most != 1 {
		t.Errorf("%d frames waited for a client that does not read, want 1", link.most)
	}
	frames := 0
	for n := link.read(); n > 0; n = link.read() {
		frames += n
	}
	if frames != 2 {
		t.Errorf("it was told of 10,001 changes in %d frames, want what waited, and one with the newest", frames)
	}
	link.check(t, map[string]string{name(slow): `"slow"`, name(flooder): "9999", name(other): "1"})
}

// Whoever comes and goes while a client does not read: it is not told of one that it never knew, and once of
// one that it knew. After very many it is told again who is there.
func TestPresenceComeAndGo(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	known, again := joinDeaf(&r), joinDeaf(&r)
	mustShow(t, &p, key, known, "1")
	mustShow(t, &p, key, again, "1")
	slow, link := joinSlow(&r)
	mustShow(t, &p, key, slow, "1")
	link.read()
	waiting := joinDeaf(&r)
	mustShow(t, &p, key, waiting, "1") // waits in the queue, so that all else is conflated
	for _, many := range []int{10, 2000} {
		for range many {
			c := joinDeaf(&r)
			mustShow(t, &p, key, c, "1")
			p.Leave(key, c)
			settled(t, &p)
		}
		value := fmt.Sprint(many)
		mustShow(t, &p, key, again, "null")
		mustShow(t, &p, key, again, value)
		want := map[string]string{name(slow): "1", name(waiting): "1", name(again): value}
		if many == 10 {
			p.Leave(key, known)
		}
		settled(t, &p)
		for link.read() > 0 {
		}
		link.check(t, want)
		mustShow(t, &p, key, waiting, "null")
		mustShow(t, &p, key, waiting, "1")
		link.mu.Lock()
		link.peers[name(waiting)] = "0" // it has begun again with the same
		link.mu.Unlock()
	}
	g := p.rooms[key]
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone > 2*len(g.list)+256 || len(g.ending) != 0 {
		t.Errorf("%d that have gone are remembered, %d are ending", g.gone, len(g.ending))
	}
}

// Clients that read now and then come, show, stop and leave: who stays has in the end what is true, and nobody was told
// anything twice, out of order or too early.
func TestPresenceModelOfSlowClients(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var p Presence
		var r Registry
		key := Key{"n", "x"}
		type client struct {
			c     *Connection
			link  *slowPupil
			value string
		}
		clients := make([]client, 5)
		for i := range clients {
			clients[i].c, clients[i].link = joinSlow(&r)
		}
		for n := range 120 {
			one := &clients[rng.IntN(len(clients))]
			switch k := rng.IntN(12); {
			case k < 5:
				one.value = fmt.Sprint(n)
				mustShow(t, &p, key, one.c, one.value)
			case k < 6:
				one.value = ""
				mustShow(t, &p, key, one.c, "null")
			case k < 7:
				p.Leave(key, one.c)
				settled(t, &p)
				one.link.check(t, one.link.peers)
				one.c, one.link = joinSlow(&r)
				one.value = ""
			default:
				one.link.read()
			}
		}
		want := map[string]string{}
		for _, one := range clients {
			if one.value != "" {
				want[name(one.c)] = one.value
			}
		}
		for _, one := range clients {
			for one.link.read() > 0 {
			}
			if one.value != "" {
				one.link.check(t, want)
			} else {
				one.link.check(t, one.link.peers)
			}
		}
		for _, one := range clients {
			p.Leave(key, one.c)
		}
		settled(t, &p)
		if t.Failed() || len(p.rooms) != 0 {
			t.Fatalf("seed %d, %d rooms are left", seed, len(p.rooms))
		}
	}
}

// stuck is a link whose Send waits, or panics.
type stuck struct {
	deaf
	entered, release chan struct{}
}

func (s *stuck) Send(...*Frame) {
	if s.entered == nil {
		panic("the link's own fault")
	}
	s.entered <- struct{}{}
	<-s.release
}

// No lock is held while a link is sent something: where one waits, others show and are told. One that panics costs nobody else
// anything.
func TestPresenceHoldsNoLock(t *testing.T) {
	var p Presence
	told := 0
	p.Panicked = func(Key, *Connection, any, []byte) { told++ }
	var r Registry
	key := Key{"n", "x"}
	slow := &stuck{entered: make(chan struct{}, 10), release: make(chan struct{})}
	panics := named(&Connection{Serial: r.Serial(), Link: new(stuck)})
	a, link := join(&r)
	b, _ := join(&r)
	blocked := named(&Connection{Serial: r.Serial(), Link: slow}) // the last in the order in which they are told
	mustShow(t, &p, key, panics, "1")
	mustShow(t, &p, key, a, "1")
	var all sync.WaitGroup
	all.Go(func() { p.Show(key, blocked, blocked.ID(), json.RawMessage("1")) })
	<-slow.entered // it is told who is there, and that waits
	mustShow(t, &p, key, b, "2")
	link.check(t, map[string]string{name(panics): "1", name(a): "1", name(blocked): "1", name(b): "2"})
	close(slow.release)
	all.Wait()
	if told != 1 {
		t.Errorf("the operator was told %d times of a link that panics, want once", told)
	}
}
