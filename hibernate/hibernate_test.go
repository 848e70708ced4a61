package hibernate

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
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

func TestRegistry(t *testing.T) {
	var r Registry
	x, y := Key{"n", "x"}, Key{"n", "y"}
	add := func(room Key) *Connection {
		c := &Connection{Serial: r.Serial()}
		r.Add(room, c)
		return c
	}
	a, b, c := add(x), add(x), add(y)
	before := r.Connections(x)
	if fmt.Sprint(before) != fmt.Sprint([]*Connection{a, b}) || r.Len() != 3 || len(r.All()) != 3 {
		t.Errorf("x has %v of %d", before, r.Len())
	}
	r.Add(x, a) // once more changes nothing
	if !r.Remove(x, a.Serial) || r.Remove(x, a.Serial) || r.Remove(Key{"n", "z"}, 1) {
		t.Error("Remove does not tell what was there")
	}
	if got := r.Connections(x); len(got) != 1 || got[0] != b || len(before) != 2 {
		t.Errorf("x has %v, and what was given before is %v", got, before)
	}
	r.Remove(x, b.Serial)
	r.Remove(y, c.Serial)
	if r.Len() != 0 || len(r.rooms) != 0 || r.Connections(x) != nil {
		t.Errorf("%d connections and %d rooms are left", r.Len(), len(r.rooms))
	}
}

func TestRegistryFromManyGoroutines(t *testing.T) {
	var r Registry
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				c := &Connection{Serial: r.Serial()}
				room := Key{"n", fmt.Sprint((g + i) % 3)}
				r.Add(room, c)
				r.Connections(room)
				r.Remove(room, c.Serial)
			}
		})
	}
	all.Wait()
	if r.Len() != 0 {
		t.Errorf("%d are left", r.Len())
	}
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
	key := Key{"n", "x"}
	type given struct{ list, want []*Connection }
	var all []given
	var live, late []*Connection
	for range 2000 {
		switch n := rng.IntN(4); {
		case n == 0 && len(live) > 0:
			i := rng.IntN(len(live))
			r.Remove(key, live[i].Serial)
			live = slices.Delete(live, i, i+1)
		case n == 1: // its serial was given before, and it comes later than others
			late = append(late, &Connection{Serial: r.Serial()})
		default:
			c := &Connection{Serial: r.Serial()}
			if n == 2 && len(late) > 0 {
				c, late = late[0], late[1:]
			}
			r.Add(key, c)
			live = append(live, c)
		}
		if rng.IntN(2) == 0 {
			list := r.Connections(key)
			all = append(all, given{list, slices.Clone(list)})
		}
		if got := len(r.Connections(key)); got != len(live) {
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
	if c.state != nil {
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
