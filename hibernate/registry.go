package hibernate

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// A Key names a room.
type Key struct{ Namespace, Room string }

// A Registry knows the connections of every room of a host. The zero Registry
// is ready for use. It must not be copied. What it costs a room with one
// connection, the map's slot and the set, is about a hundred bytes.
type Registry struct {
	serial atomic.Uint64

	mu    sync.RWMutex
	rooms map[Key]*set // a room without connections is not in it
	peak  int          // the most rooms since the map was made
	total int
}

// A set is connections of one room, in the order of their serials. The registry's are
// protected by its mu.
type set struct {
	list   []*Connection
	shared atomic.Bool // list has been given away: only what lies behind its end may be written
}

// Serial gives a number for a new connection.
func (r *Registry) Serial() uint64 { return r.serial.Add(1) }

// Add puts a connection into a room's set. The key's strings are kept as long as
// the room has connections: they should pin nothing larger.
func (r *Registry) Add(key Key, c *Connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[key]
	if room == nil {
		room = &set{list: make([]*Connection, 0, 1)}
		if r.rooms == nil {
			r.rooms = make(map[Key]*set)
		}
		r.rooms[key] = room
		r.peak = max(r.peak, len(r.rooms))
	}
	if room.add(c) {
		r.total++
	}
}

// Remove takes a connection out of its room and tells whether it was there.
func (r *Registry) Remove(key Key, serial uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[key]
	if room == nil || !room.remove(serial) {
		return false
	}
	r.total--
	if len(room.list) == 0 {
		delete(r.rooms, key)
		r.rooms = shrink(r.rooms, &r.peak)
	}
	return true
}

// shrink gives a map's memory back, which a map does not do by itself. peak is the most
// that was in it.
func shrink[V any](rooms map[Key]V, peak *int) map[Key]V {
	const keep = 1024
	if *peak < keep || len(rooms) > *peak/4 {
		return rooms
	}
	fewer := make(map[Key]V, len(rooms))
	maps.Copy(fewer, rooms)
	*peak = len(fewer)
	return fewer
}

// Connections is a room's connections in the order in which they came. The
// slice is shared and must not be changed; it stays as it is when the set
// changes.
func (r *Registry) Connections(key Key) []*Connection {
	r.mu.RLock()
	defer r.mu.RUnlock()
	room := r.rooms[key]
	if room == nil {
		return nil
	}
	room.shared.Store(true)
	return slices.Clip(room.list)
}

// All is the connections of all rooms, in the order in which they came.
func (r *Registry) All() []*Connection {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Connection, 0, r.total)
	for _, s := range r.rooms {
		all = append(all, s.list...)
	}
	slices.SortFunc(all, func(a, b *Connection) int { return cmp.Compare(a.Serial, b.Serial) })
	return all
}

// Len is the number of connections of all rooms.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.total
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

func (s *set) removeFunc(gone func(*Connection) bool) {
	s.own()
	s.list = slices.DeleteFunc(s.list, gone)
	s.trim()
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
