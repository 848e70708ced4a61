package hibernate

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/denrooms/den/syncproto"
)

// A pupil is a link that keeps what presence tells it, and holds it to the rules.
type pupil struct {
	mu     sync.Mutex
	self   string
	peers  map[string]string // nil: nothing was told
	frames []*Frame
	wrong  []string
}

func (p *pupil) Close(int, string) {}

func (p *pupil) Send(frames ...*Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range frames {
		p.frames = append(p.frames, f)
		p.learn(f.Payload())
	}
}

func (p *pupil) learn(payload []byte) {
	var f struct {
		Type, Self string
		Full       bool
		Peers      map[string]*struct {
			ID   string
			Data json.RawMessage
		}
	}
	if err := json.Unmarshal(payload, &f); err != nil || f.Type != "presence" || len(f.Peers) == 0 {
		p.wrong = append(p.wrong, fmt.Sprintf("no frame of presence: %s (%v)", payload, err))
		return
	}
	if f.Full {
		p.self, p.peers = f.Self, make(map[string]string)
	}
	if p.peers == nil {
		p.wrong = append(p.wrong, fmt.Sprintf("told of a change before all: %s", payload))
		return
	}
	for name, peer := range f.Peers {
		held, there := p.peers[name]
		switch {
		case peer == nil && !there:
			p.wrong = append(p.wrong, name+" has gone, and was not there")
		case peer == nil:
			delete(p.peers, name)
		case there && count(held) >= count(string(peer.Data)):
			p.wrong = append(p.wrong, fmt.Sprintf("%s shows %s behind %s", name, peer.Data, held))
		default:
			p.peers[name] = string(peer.Data)
		}
	}
}

// count reads the number in a value of the model, -1 in others.
func count(value string) int {
	n, err := strconv.Atoi(value)
	if err != nil {
		return -1
	}
	return n
}

func (p *pupil) check(t *testing.T, want map[string]string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wrong {
		t.Error(w)
	}
	if own, there := want[p.self]; there && p.peers[p.self] != "" {
		p.peers[p.self] = own // what it shows itself it knows without being told
	}
	if fmt.Sprint(p.peers) != fmt.Sprint(want) {
		t.Errorf("%s knows %d of %d: %.300v\nwant %.300v", p.self, len(p.peers), len(want), p.peers, want)
	}
}

func name(c *Connection) string { return strconv.FormatUint(c.Serial, 36) }

// named gives a connection an id that others have too.
func named(c *Connection) *Connection {
	c.Name(fmt.Sprint("id-", c.Serial%7), "room")
	return c
}

func join(r *Registry) (*Connection, *pupil) {
	link := new(pupil)
	serial := r.Serial()
	return named(&Connection{Serial: serial, Link: link}), link
}

// joinDeaf is join with a link that does not look at what it gets.
func joinDeaf(r *Registry) *Connection {
	serial := r.Serial()
	return named(&Connection{Serial: serial, Link: new(deaf)})
}

func mustShow(t *testing.T, p *Presence, key Key, c *Connection, value string) {
	t.Helper()
	if err := p.Show(key, c, c.ID(), json.RawMessage(value)); err != nil {
		t.Fatal(err)
	}
}

func settled(t *testing.T, p *Presence) {
	t.Helper()
	if err := p.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Clients come, show, stop and leave at the same time in two rooms. Whoever stays has in the
// end what is true, and nobody was told anything twice, out of order, or too early.
func TestPresenceModel(t *testing.T) {
	var p Presence
	var r Registry
	var all sync.WaitGroup
	type end struct {
		key   Key
		c     *Connection
		link  *pupil
		value string // "" has left or takes no part
	}
	const workers, steps = 16, 400
	ends := make([][]end, workers)
	for w := range workers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			key := Key{"n", fmt.Sprint(w % 2)}
			c, link := join(&r)
			now := end{key, c, link, ""}
			for n := range steps {
				switch rng.IntN(8) {
				case 0:
					p.Show(key, now.c, now.c.ID(), json.RawMessage("null"))
					now.value = ""
				case 1:
					// As a socket's two ends do: one shows, the other leaves.
					left := make(chan struct{})
					go func() { p.Leave(key, now.c); close(left) }()
					p.Show(key, now.c, now.c.ID(), json.RawMessage(fmt.Sprint(n)))
					<-left
					p.Leave(key, now.c)
					p.Show(key, now.c, now.c.ID(), json.RawMessage(fmt.Sprint(n+1)))
					now.value = ""
					ends[w] = append(ends[w], now)
					now.c, now.link = join(&r)
				default:
					now.value = fmt.Sprint(n)
					p.Show(key, now.c, now.c.ID(), json.RawMessage(now.value))
				}
			}
			ends[w] = append(ends[w], now)
		})
	}
	all.Wait()
	settled(t, &p)
	want := map[Key]map[string]string{{"n", "0"}: {}, {"n", "1"}: {}}
	for _, e := range ends {
		if last := e[len(e)-1]; last.value != "" {
			want[last.key][name(last.c)] = last.value
		}
	}
	for _, e := range ends {
		for _, one := range e {
			switch {
			case one.value != "":
				one.link.check(t, want[one.key])
			case one.c.Presence() != nil:
				t.Errorf("%s shows %s, and takes no part", name(one.c), one.c.Presence())
			default:
				one.link.check(t, one.link.peers) // nothing was wrong
			}
		}
	}
	for _, e := range ends {
		p.Leave(e[len(e)-1].key, e[len(e)-1].c)
	}
	settled(t, &p)
	if len(p.rooms) != 0 {
		t.Errorf("%d rooms are left", len(p.rooms))
	}
}

// One change is one frame, whoever gets it; who shows what it showed before, but for space,
// and who has taken no part and stops, cause none.
func TestPresenceFrames(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	conns, links := make([]*Connection, 100), make([]*pupil, 100)
	for i := range conns {
		conns[i], links[i] = join(&r)
		mustShow(t, &p, key, conns[i], "null")
		mustShow(t, &p, key, conns[i], `"here"`)
	}
	for _, l := range links {
		l.frames = nil
	}
	mustShow(t, &p, key, conns[0], ` { "x":[1,`+"\n"+`2] } `)
	mustShow(t, &p, key, conns[0], `{"x":[1,2]}`)
	if got := string(conns[0].Presence()); got != `{"x":[1,2]}` {
		t.Errorf("it shows %s", got)
	}
	for i, l := range links[1:] {
		if len(l.frames) != 1 || l.frames[0] != links[1].frames[0] {
			t.Fatalf("client %d got %d frames, or one of its own", i+1, len(l.frames))
		}
	}
	if len(links[0].frames) != 0 {
		t.Error("it was told of its own change")
	}
	if got, want := string(links[1].frames[0].Payload()), `{"type":"presence","peers":{"1":{"id":"id-1","data":{"x":[1,2]}}}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What does not fit into a page comes in pages, all before anything else.
func TestPresencePages(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	want := map[string]string{}
	value := `"` + strings.Repeat("x", 10_000) + `"`
	for range 100 {
		c := joinDeaf(&r)
		mustShow(t, &p, key, c, value)
		want[name(c)] = value
	}
	c, link := join(&r)
	mustShow(t, &p, key, c, "1")
	want[name(c)] = "1"
	link.check(t, want)
	if n := len(link.frames); n < 3 || n > 6 || !strings.HasPrefix(string(link.frames[0].Payload()), `{"type":"presence","full":true,"self":"`+name(c)) {
		t.Errorf("%d pages, the first is %.60s", n, link.frames[0].Payload())
	}
	for _, f := range link.frames {
		if n := len(f.Payload()); n > syncproto.DefaultPageBytes+11_000 {
			t.Errorf("a page of %d bytes", n)
		}
	}
}

func TestPresenceLimits(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	most := `"` + strings.Repeat("x", syncproto.MaxPresenceBytes-2) + `"`
	var conns []*Connection
	for range MaxRoomPresence/syncproto.MaxPresenceBytes + 1 {
		c := joinDeaf(&r)
		mustShow(t, &p, key, c, "1")
		conns = append(conns, c)
	}
	if err := p.Show(key, conns[0], conns[0].ID(), json.RawMessage(most+" ")); !errors.Is(err, ErrPresenceTooLarge) || string(conns[0].Presence()) != "1" {
		t.Errorf("one byte more: %v, and it shows %.20s", err, conns[0].Presence())
	}
	var full []*Connection
	for _, c := range conns {
		if err := p.Show(key, c, c.ID(), json.RawMessage(most)); errors.Is(err, ErrPresenceFull) && string(c.Presence()) == "1" {
			full = append(full, c)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if len(full) == 0 || len(full) > 4 {
		t.Fatalf("%d of %d did not find place", len(full), len(conns))
	}
	for _, c := range conns[:len(full)] { // who leaves makes room, in either way
		if c == conns[0] {
			p.Leave(key, c)
			settled(t, &p)
		} else {
			mustShow(t, &p, key, c, "null")
		}
	}
	for _, c := range full {
		mustShow(t, &p, key, c, most)
	}
	if err := p.Show(key, conns[1], conns[1].ID(), json.RawMessage(`{`)); err == nil {
		t.Error("what is no JSON is shown")
	}
}

// Many who leave at once are announced in a few frames, and each once.
func TestPresenceManyLeave(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	stays, link := join(&r)
	mustShow(t, &p, key, stays, "1")
	conns := make([]*Connection, 1000)
	for i := range conns {
		conns[i] = joinDeaf(&r)
		mustShow(t, &p, key, conns[i], "1")
	}
	before := len(link.frames)
	g := p.lock(key) // as a broadcast that is under way
	for _, c := range conns {
		p.Leave(key, c)
		if c.Presence() != nil {
			t.Fatal("who has left shows something")
		}
	}
	p.unlock(key, g)
	settled(t, &p)
	link.check(t, map[string]string{name(stays): "1"})
	if n := len(link.frames) - before; n > 2 {
		t.Errorf("%d frames for one leaving together", n)
	}
}

// TestPresenceForgets: of the clients that have left, a room keeps as many as twice those that stay and 256 more. A client
// that was not told of them yet is told who is there.
func TestPresenceForgets(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	stays, link := join(&r)
	mustShow(t, &p, key, stays, "1")
	g := p.lock(key)
	p.unlock(key, g)
	listed := func() (n int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for ch := g.oldest; ch != nil; ch = ch.newer {
			n++
		}
		return n
	}
	const kept = 2*1 + 256
	for n := range kept {
		c := joinDeaf(&r)
		mustShow(t, &p, key, c, "2")
		mustShow(t, &p, key, c, "null")
		if got := listed(); got != n+2 {
			t.Fatalf("after %d have left, the room keeps %d changes, want %d", n+1, got, n+2)
		}
	}
	last := joinDeaf(&r)
	mustShow(t, &p, key, last, "2")
	mustShow(t, &p, key, last, "null")
	if got := listed(); got != 1 {
		t.Errorf("after one more has left than is kept, the room keeps %d changes, want that of the client that stays", got)
	}
	settled(t, &p)
	link.check(t, map[string]string{name(stays): "1"})
}

// TestPresenceReplaces: where a room's presence is full, a client may show something else of the same length, and what the room
// counts is what is shown in the end.
func TestPresenceReplaces(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	most := strings.Repeat("x", syncproto.MaxPresenceBytes-2)
	var err error
	var last *Connection
	for err == nil {
		c := joinDeaf(&r)
		if err = p.Show(key, c, c.ID(), json.RawMessage(`"`+most+`"`)); err == nil {
			last = c
		}
	}
	if !errors.Is(err, ErrPresenceFull) {
		t.Fatal(err)
	}
	for range 10 {
		mustShow(t, &p, key, last, `"`+strings.ReplaceAll(most, "x", "y")+`"`)
		mustShow(t, &p, key, last, `"`+most+`"`)
	}
	g := p.lock(key)
	p.unlock(key, g)
	sum := 0
	for _, m := range g.list {
		sum += len(m.c.shown.Load().peer)
	}
	if g.bytes != sum {
		t.Errorf("the room counts %d bytes of presence, and %d are shown", g.bytes, sum)
	}
}

// Behind Close nobody is told anything, and nobody waits.
func TestPresenceClose(t *testing.T) {
	var p Presence
	var r Registry
	key := Key{"n", "x"}
	a, _ := join(&r)
	b, link := join(&r)
	mustShow(t, &p, key, a, "1")
	mustShow(t, &p, key, b, "1")
	var all sync.WaitGroup
	all.Go(p.Close)
	for range 4 {
		all.Go(func() { p.Show(key, a, a.ID(), json.RawMessage("2")) })
	}
	all.Wait()
	before := len(link.frames)
	mustShow(t, &p, key, a, "3")
	p.Leave(key, a)
	settled(t, &p)
	if len(link.frames) != before || len(p.rooms) != 0 {
		t.Errorf("%d frames behind the end, %d rooms", len(link.frames)-before, len(p.rooms))
	}
}

type deaf struct{ _ byte }

func (*deaf) Send(...*Frame)    {}
func (*deaf) Close(int, string) {}

// BenchmarkPresence is one change in a room of many, without what the sockets cost.
func BenchmarkPresence(b *testing.B) {
	for _, n := range []int{2, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var p Presence
			var r Registry
			key := Key{"n", "x"}
			conns := make([]*Connection, n)
			for i := range conns {
				conns[i] = joinDeaf(&r)
				if err := p.Show(key, conns[i], conns[i].ID(), json.RawMessage(`{"x":1}`)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if err := p.Show(key, conns[i%n], conns[i%n].ID(), fmt.Appendf(nil, `{"x":%d}`, i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
