package hibernate

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Key names a room.
type Key struct{ Namespace, Room string }

// A Registry knows the connections of every room of a host. The zero Registry
// is ready for use. It must not be copied.
type Registry struct {
	serial atomic.Uint64

	mu    sync.RWMutex
	kinds []*Rooms
}

// Rooms are the rooms of a namespace that have connections.
//
// Most rooms that sleep with somebody there have one. Such a room costs a slot of a map, 26
// bytes on average: the key is the hash of its name, which the connection has. Any
// other has a set, at 100 bytes and 8 for each connection.
type Rooms struct {
	hash func(room string) uint64 // immutable

	mu     sync.RWMutex           // protects what follows
	lone   map[uint64]*Connection // rooms with one connection, by the hash of the room's name
	crowds map[string]*set        // the others, and those whose hash another room had first
	total  int                    // connections

	mostLone, mostCrowds int // rooms since the maps were made
}

// A set is connections of one room, in the order of their serials. What it belongs to has a
// mu that protects it.
type set struct {
	list   []*Connection
	shared atomic.Bool // list has been given away: only what lies behind its end may be written
}

// Serial gives a number for a new connection.
func (r *Registry) Serial() uint64 { return r.serial.Add(1) }

// Rooms makes the Rooms of a namespace.
func (r *Registry) Rooms() *Rooms {
	seed := maphash.MakeSeed()
	rooms := &Rooms{
		hash:   func(room string) uint64 { return maphash.String(seed, room) },
		lone:   make(map[uint64]*Connection),
		crowds: make(map[string]*set),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kinds = append(r.kinds, rooms)
	return rooms
}

// All is the connections of all rooms, in the order in which they came.
func (r *Registry) All() (all []*Connection) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, rooms := range r.kinds {
		all = rooms.appendTo(all)
	}
	slices.SortFunc(all, func(a, b *Connection) int { return cmp.Compare(a.Serial, b.Serial) })
	return all
}

// Len is the number of connections of all rooms.
func (r *Registry) Len() (n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, rooms := range r.kinds {
		n += rooms.len()
	}
	return n
}

// Add puts a connection among those of its room, which it names. It returns false, and does nothing, where the
// connection has ended: so one that is removed after its End stays removed.
func (r *Rooms) Add(c *Connection) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Ended() {
		return false
	}
	if r.add(c) {
		r.total++
	}
	return true
}

// Remove takes a connection out of its room and tells whether it was there.
func (r *Rooms) Remove(c *Connection) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.remove(c) {
		return false
	}
	r.total--
	return true
}

// Connections is a room's connections in the order in which they came. The
// slice is shared and must not be changed; it stays as it is when the set
// changes.
func (r *Rooms) Connections(room string) []*Connection {
	hash := r.hash(room)
	r.mu.RLock()
	defer r.mu.RUnlock()
	if one := r.alone(hash, room); one != nil {
		return []*Connection{one}
	}
	crowd := r.crowds[room]
	if crowd == nil {
		return nil
	}
	crowd.shared.Store(true)
	return slices.Clip(crowd.list)
}

// All is the connections of the namespace's rooms, in no order.
func (r *Rooms) All() []*Connection { return r.appendTo(nil) }

func (r *Rooms) appendTo(all []*Connection) []*Connection {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all = slices.Grow(all, r.total)
	for _, c := range r.lone {
		all = append(all, c)
	}
	for _, crowd := range r.crowds {
		all = append(all, crowd.list...)
	}
	return all
}

func (r *Rooms) len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.total
}

// alone is the connection of a room that has one, and is not among the crowds.
func (r *Rooms) alone(hash uint64, room string) *Connection {
	if c := r.lone[hash]; c != nil && c.Room() == room {
		return c
	}
	return nil
}

// add gives false where the connection was there already.
func (r *Rooms) add(c *Connection) bool {
	room := c.Room()
	hash := r.hash(room)
	first := r.lone[hash]
	there := first != nil && first.Room() == room
	if there && first.Serial == c.Serial {
		return false
	}
	if crowd := r.crowds[room]; crowd != nil {
		return crowd.add(c)
	}
	if first == nil {
		r.settle(hash, c)
		return true
	}
	crowd := &set{list: make([]*Connection, 0, 2)}
	if there {
		crowd.add(first)
		delete(r.lone, hash)
	}
	crowd.add(c)
	r.crowds[strings.Clone(room)] = crowd // it may be there for longer than c
	r.mostCrowds = max(r.mostCrowds, len(r.crowds))
	return true
}

// settle gives a room with one connection its slot, which is free.
func (r *Rooms) settle(hash uint64, c *Connection) {
	r.lone[hash] = c
	r.mostLone = max(r.mostLone, len(r.lone))
}

// remove gives false where the connection was not there.
func (r *Rooms) remove(c *Connection) bool {
	room := c.Room()
	hash := r.hash(room)
	if one := r.alone(hash, room); one != nil {
		if one.Serial != c.Serial {
			return false
		}
		delete(r.lone, hash)
		r.lone = shrink(r.lone, &r.mostLone)
		return true
	}
	crowd := r.crowds[room]
	if crowd == nil || !crowd.remove(c.Serial) {
		return false
	}
	switch {
	case len(crowd.list) == 0:
	case len(crowd.list) == 1 && r.lone[hash] == nil:
		r.settle(hash, crowd.list[0])
	default:
		return true
	}
	delete(r.crowds, room)
	r.crowds = shrink(r.crowds, &r.mostCrowds)
	return true
}

// shrink gives a map's memory back, which a map does not do by itself. peak is the most
// that was in it.
func shrink[K comparable, V any](rooms map[K]V, peak *int) map[K]V {
	const keep = 1024
	if *peak < keep || len(rooms) > *peak/4 {
		return rooms
	}
	fewer := make(map[K]V, len(rooms))
	maps.Copy(fewer, rooms)
	*peak = len(fewer)
	return fewer
}

func (s *set) find(serial uint64) (int, bool) {
	return slices.BinarySearchFunc(s.list, serial, func(c *Connection, serial uint64) int { return cmp.Compare(c.Serial, serial) })
}

// add gives false where the connection was there already. The newest has the highest
// serial, mostly, and goes behind the list, which nobody sees who has got it before.
func (s *set) add(c *Connection) bool {
	at, there := s.find(c.Serial)
	if there {
		return false
	}
	if at < len(s.list) {
		s.own()
	}
	s.list = slices.Insert(s.list, at, c)
	return true
}

func (s *set) remove(serial uint64) bool {
	at, there := s.find(serial)
	if !there {
		return false
	}
	s.own()
	s.list = slices.Delete(s.list, at, at+1)
	s.trim()
	return true
}

// trim gives memory back that has become far too much.
func (s *set) trim() {
	if cap(s.list) > 32 && len(s.list) < cap(s.list)/4 {
		s.list = slices.Clone(s.list)
	}
}

// own makes sure that nobody else sees the list's memory.
func (s *set) own() {
	if s.shared.Load() {
		s.list = slices.Clone(s.list)
		s.shared.Store(false)
	}
}
