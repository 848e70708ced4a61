package hibernate

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A frame's header must say what RFC 6455 wants of a server's frame: FIN, the opcode, no
// mask, and the length in the shortest of its three forms.
func TestFrameWire(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 20} {
		payload := bytes.Repeat([]byte("x"), n)
		text := TextFrame(n/2, func(dst []byte) []byte { return append(dst, payload...) })
		for op, f := range map[byte]*Frame{0x81: text, 0x82: BinaryFrame(payload)} {
			wire := f.Wire()
			header, length := 2, uint64(wire[1])
			switch wire[1] {
			case 126:
				header, length = 4, uint64(binary.BigEndian.Uint16(wire[2:]))
			case 127:
				header, length = 10, binary.BigEndian.Uint64(wire[2:])
			}
			shortest := map[int]int{2: 0, 4: 126, 10: 65536}[header]
			if wire[0] != op || length != uint64(n) || n < shortest || len(wire) != header+n {
				t.Errorf("%d bytes: header % x", n, wire[:header])
			}
			if !bytes.Equal(wire[header:], payload) || !bytes.Equal(f.Payload(), payload) || f.Binary() != (op == 0x82) {
				t.Errorf("%d bytes: the payload is another", n)
			}
		}
	}
}

// newcomer is a connection of a room.
func newcomer(r *Registry, room string) *Connection {
	c := &Connection{Serial: r.Serial()}
	c.Name("someone", room)
	return c
}

func TestRegistry(t *testing.T) {
	var r Registry
	n, m := r.Rooms(), r.Rooms()
	add := func(rooms *Rooms, room string) *Connection {
		c := newcomer(&r, room)
		rooms.Add(c)
		return c
	}
	a, b, c, d := add(n, "x"), add(n, "x"), add(n, "y"), add(m, "x")
	before := n.Connections("x")
	if !slices.Equal(before, []*Connection{a, b}) || r.Len() != 4 || !slices.Equal(r.All(), []*Connection{a, b, c, d}) {
		t.Errorf("x has %v of %d", before, r.Len())
	}
	n.Add(a) // once more changes nothing
	n.Add(c)
	if r.Len() != 4 {
		t.Errorf("%d connections", r.Len())
	}
	if !n.Remove(a) || n.Remove(a) || m.Remove(b) || n.Remove(newcomer(&r, "z")) || n.Remove(newcomer(&r, "y")) {
		t.Error("Remove does not tell what was there")
	}
	if got := n.Connections("x"); len(got) != 1 || got[0] != b || len(before) != 2 {
		t.Errorf("x has %v, and what was given before is %v", got, before)
	}
	if n.Connections("z") != nil || m.Connections("y") != nil {
		t.Error("a room without connections has some")
	}
	n.Remove(b)
	n.Remove(c)
	if r.Len() != 1 || len(n.single)+len(n.sets) != 0 || n.Connections("x") != nil {
		t.Errorf("%d connections and %d rooms are left", r.Len(), len(n.single)+len(n.sets))
	}
}

// The registry is compared with a plain map of lists, in rooms of which many have the same hash.
func TestRegistryAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var r Registry
	rooms := r.Rooms()
	rooms.hash = func(room string) uint64 { return uint64(room[len(room)-1]) % 3 }
	model := make(map[string][]*Connection)
	total, shared := 0, 0
	for range 20_000 {
		room := fmt.Sprint("room", rng.IntN(10))
		list := model[room]
		if len(list) > 0 && rng.IntN(2+len(list)) > 1 {
			i := rng.IntN(len(list))
			if !rooms.Remove(list[i]) || rooms.Remove(list[i]) {
				t.Fatalf("%s has lost a connection, or has one that has gone", room)
			}
			model[room] = slices.Delete(slices.Clone(list), i, i+1)
			total--
		} else {
			c := newcomer(&r, room)
			rooms.Add(c)
			rooms.Add(c)
			model[room] = append(slices.Clone(list), c)
			total++
		}
		for room, want := range model {
			if got := rooms.Connections(room); !slices.Equal(got, want) {
				t.Fatalf("%s has %v, want %v", room, got, want)
			}
		}
		if r.Len() != total || len(r.All()) != total {
			t.Fatalf("%d and %d connections, want %d", r.Len(), len(r.All()), total)
		}
		for _, connections := range rooms.sets {
			if len(connections.list) == 1 {
				shared++
			}
		}
	}
	if shared == 0 {
		t.Error("no room had to do with a hash that was taken")
	}
}

// A room that sleeps with one connection costs a slot: what a host with a room for each of its
// clients has of them.
func TestLoneRoomsAreSmall(t *testing.T) {
	const rooms, most = 50_000, 40 // bytes
	list := make([]*Connection, rooms)
	var r Registry
	n := r.Rooms()
	for i := range list {
		list[i] = newcomer(&r, fmt.Sprint("room", i))
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for _, c := range list {
		n.Add(c)
	}
	each := float64(heap()-before) / rooms
	t.Logf("%.1f bytes", each)
	if each > most {
		t.Errorf("a room has %.1f bytes, and %d are allowed", each, most)
	}
	for _, c := range list {
		n.Remove(c)
	}
	if left := heap() - before; left > rooms {
		t.Errorf("%d bytes are left of rooms that are not there any more", left)
	}
	runtime.KeepAlive(&r)
}

func TestRegistryFromManyGoroutines(t *testing.T) {
	var r Registry
	rooms := r.Rooms()
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				room := fmt.Sprint((g + i) % 3)
				c := newcomer(&r, room)
				rooms.Add(c)
				rooms.Connections(room)
				rooms.Remove(c)
			}
		})
	}
	all.Wait()
	if r.Len() != 0 {
		t.Errorf("%d are left", r.Len())
	}
}

func TestConnectionNames(t *testing.T) {
	var c Connection
	long := strings.Repeat("i", MaxConnectionID)
	c.Name(long, "")
	if c.ID() != long || c.Room() != "" {
		t.Errorf("%q in %q", c.ID(), c.Room())
	}
	c.Name("", "kitchen")
	if c.ID() != "" || c.Room() != "kitchen" {
		t.Errorf("%q in %q", c.ID(), c.Room())
	}
	defer func() {
		if recover() == nil {
			t.Error("an id that is too long is taken")
		}
	}()
	c.Name(long+"i", "kitchen")
}

func TestConfirmNeverFalls(t *testing.T) {
	var c Connection
	c.Handed(7)
	c.Confirm(c.Mark())
	c.Confirm(3)
	if c.Confirmed() != 7 {
		t.Errorf("confirmed %d", c.Confirmed())
	}
}

// What was given away stays as it was, whatever becomes of the set: a room that hands out
// a broadcast goes through it while others come and go.
func TestRegistryListsStay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var r Registry
	rooms := r.Rooms()
	type given struct{ list, want []*Connection }
	var all []given
	var live, late []*Connection
	for range 2000 {
		switch n := rng.IntN(4); {
		case n == 0 && len(live) > 0:
			i := rng.IntN(len(live))
			rooms.Remove(live[i])
			live = slices.Delete(live, i, i+1)
		case n == 1: // its serial was given before, and it comes later than others
			late = append(late, newcomer(&r, "x"))
		default:
			c := newcomer(&r, "x")
			if n == 2 && len(late) > 0 {
				c, late = late[0], late[1:]
			}
			rooms.Add(c)
			live = append(live, c)
		}
		if rng.IntN(2) == 0 {
			list := rooms.Connections("x")
			all = append(all, given{list, slices.Clone(list)})
		}
		if got := len(rooms.Connections("x")); got != len(live) {
			t.Fatalf("%d connections, want %d", got, len(live))
		}
	}
	for i, g := range all {
		sorted := slices.IsSortedFunc(g.list, func(a, b *Connection) int { return cmp.Compare(a.Serial, b.Serial) })
		if !slices.Equal(g.list, g.want) || !sorted {
			t.Fatalf("list %d has changed or is out of order", i)
		}
	}
}

func TestConnectionState(t *testing.T) {
	c := Connection{Identity: Identify(Identity{})}
	if c.Identity.Subject != "" || c.Identity != Identify(Identity{}) || Identify(Identity{Subject: "me"}).Subject != "me" {
		t.Error("nobody in particular is shared, others are not")
	}
	c.SetState(State{Tags: []string{"a"}})
	if s := c.State(); len(s.Tags) != 1 || s.Attachment != nil {
		t.Errorf("state %+v", s)
	}
	c.SetState(State{})
	if c.rare.Load() != nil {
		t.Error("a state of nothing takes memory")
	}
	if !c.LastAutoAnswer().IsZero() {
		t.Error("answered before it was")
	}
	c.AutoAnswered(time.Unix(7, 0))
	if !c.LastAutoAnswer().Equal(time.Unix(7, 0)) {
		t.Errorf("answered at %v", c.LastAutoAnswer())
	}
}

// A keepsake takes no memory of the connections that have nothing else, and goes alone.
func TestKeepsake(t *testing.T) {
	var plain, tagged Connection
	one, other := new(int), new(int)
	k := NewKeepsake(one)
	if n := testing.AllocsPerRun(10, func() { plain.KeepShared(k) }); n != 0 {
		t.Errorf("keeping takes %v allocations", n)
	}
	tagged.SetState(State{Tags: []string{"a"}})
	tagged.SetNumbers("phone")
	tagged.KeepShared(k)
	for _, c := range []*Connection{&plain, &tagged} {
		if c.Drop(other); c.Kept() != any(one) {
			t.Errorf("kept: %v", c.Kept())
		}
		if c.Drop(other, one); c.Kept() != nil {
			t.Errorf("dropped: %v", c.Kept())
		}
	}
	if plain.rare.Load() != nil {
		t.Error("nothing takes memory")
	}
	if len(tagged.State().Tags) != 1 || tagged.Numbers() != "phone" {
		t.Errorf("what it has else: %+v, %q", tagged.State(), tagged.Numbers())
	}
}

// A connection that has ended is not added any more, so that one which is removed after its end stays removed.
func TestEndedConnectionIsNotAdded(t *testing.T) {
	var r Registry
	rooms := r.Rooms()
	c := &Connection{Serial: r.Serial()}
	c.Name("alice", "r")
	if !rooms.Add(c) || r.Len() != 1 {
		t.Fatalf("%d connections", r.Len())
	}
	c.End()
	if !rooms.Remove(c) || rooms.Add(c) || r.Len() != 0 || len(rooms.Connections("r")) != 0 {
		t.Errorf("after its end there are %d connections", r.Len())
	}
}

// The stages of a connection do not touch each other.
func TestConnectionStages(t *testing.T) {
	c := new(Connection)
	c.Admit()
	c.Handed(3)
	c.Note()
	if !c.Admitted() || !c.Given() || !c.Noted() || c.Ended() {
		t.Error("a stage is missing")
	}
	c.Dismiss()
	if c.Admitted() || !c.Given() || !c.Noted() || c.Ended() {
		t.Error("Dismiss changed another stage")
	}
}

// TestShrink: a map gives its memory back when it holds a quarter or less of what it once held, if that was 1024 or more.
func TestShrink(t *testing.T) {
	for _, c := range []struct {
		peak, holds int
		shrinks     bool
	}{{1023, 1, false}, {1024, 257, false}, {1024, 256, true}, {4000, 0, true}} {
		rooms := make(map[int]string)
		for n := range c.holds {
			rooms[n] = "x"
		}
		peak := c.peak
		fewer := shrink(rooms, &peak)
		want := c.peak
		if c.shrinks {
			want = c.holds
		}
		if another := reflect.ValueOf(fewer).Pointer() != reflect.ValueOf(rooms).Pointer(); another != c.shrinks || peak != want || !maps.Equal(fewer, rooms) {
			t.Errorf("%d of %d: it is another map: %v, peak %d, %d entries; want %v, %d, %d", c.holds, c.peak, another, peak, len(fewer), c.shrinks, want, c.holds)
		}
	}
}

// TestSetCopies: a list that somebody was given stays as it is, and one that nobody was given is changed in place.
func TestSetCopies(t *testing.T) {
	s := set{list: make([]*Connection, 0, 16)}
	var conns []*Connection
	for serial := range 8 {
		conns = append(conns, &Connection{Serial: uint64(serial)})
	}
	for _, c := range conns {
		s.add(c)
	}
	first := &s.list[0]
	s.remove(7)
	s.add(conns[7])
	if &s.list[0] != first {
		t.Error("a list that nobody else has was copied")
	}
	given := s.list
	s.shared.Store(true)
	s.remove(0)
	if !slices.Equal(given, conns) || !slices.Equal(s.list, conns[1:]) {
		t.Error("a list that somebody was given has changed")
	}
}
