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

// A Registry has the connections of all rooms of a host. The zero Registry is ready for use. It must not be copied.
type Registry struct {
	serial atomic.Uint64

	mu         sync.RWMutex
	namespaces []*Rooms
}

// Rooms are the rooms of a namespace that have connections.
//
// Most rooms that sleep with connections have one connection. Such a room costs a slot of a map, 26 bytes on average: the key is the
// hash of the room's name, and the connection has the name. Any other room has a set, at 100 bytes and 8 for each
// connection.
type Rooms struct {
	hash func(room string) uint64 // immutable

	mu     sync.RWMutex           // protects what follows
	single map[uint64]*Connection // rooms with one connection, by the hash of the room's name
	sets   map[string]*set        // all other rooms, and those whose hash another room in single has
	total  int                    // connections

	peakSingle, peakSets int // rooms since the maps were made
}

// A set is the connections of one room, in the order of their serials. It is protected by Rooms.mu.
type set struct {
	list   []*Connection
	shared atomic.Bool // a caller of Connections has list: only the memory after its end may be written
}

// Serial returns a number for a new connection.
func (r *Registry) Serial() uint64 { return r.serial.Add(1) }

// Rooms makes the Rooms of a namespace.
func (r *Registry) Rooms() *Rooms {
	seed := maphash.MakeSeed()
	rooms := &Rooms{
		hash:   func(room string) uint64 { return maphash.String(seed, room) },
		single: make(map[uint64]*Connection),
		sets:   make(map[string]*set),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.namespaces = append(r.namespaces, rooms)
	return rooms
}

// All returns the connections of all rooms, in the order in which they came.
func (r *Registry) All() (all []*Connection) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, rooms := range r.namespaces {
		all = rooms.appendTo(all)
	}
	slices.SortFunc(all, func(a, b *Connection) int { return cmp.Compare(a.Serial, b.Serial) })
	return all
}

// Len returns the number of connections of all rooms.
func (r *Registry) Len() (n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, rooms := range r.namespaces {
		n += rooms.len()
	}
	return n
}

// Add adds a connection to those of its room. If the connection has ended, Add does nothing and returns false; so a connection
// that was removed after its End stays removed.
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

// Remove removes a connection from its room, and reports whether it was there.
func (r *Rooms) Remove(c *Connection) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.remove(c) {
		return false
	}
	r.total--
	return true
}

// Connections returns a room's connections, in the order in which they came. The slice is shared and must not be changed. It stays as
// it is when connections come and go.
func (r *Rooms) Connections(room string) []*Connection {
	hash := r.hash(room)
	r.mu.RLock()
	defer r.mu.RUnlock()
	if one := r.singleOf(hash, room); one != nil {
		return []*Connection{one}
	}
	connections := r.sets[room]
	if connections == nil {
		return nil
	}
	connections.shared.Store(true)
	return slices.Clip(connections.list)
}

// All returns the connections of the namespace's rooms, in no order.
func (r *Rooms) All() []*Connection { return r.appendTo(nil) }

func (r *Rooms) appendTo(all []*Connection) []*Connection {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all = slices.Grow(all, r.total)
	for _, c := range r.single {
		all = append(all, c)
	}
	for _, connections := range r.sets {
		all = append(all, connections.list...)
	}
	return all
}

func (r *Rooms) len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.total
}

// singleOf returns the connection of a room in single; nil if the room is not there.
func (r *Rooms) singleOf(hash uint64, room string) *Connection {
	if c := r.single[hash]; c != nil && c.Room() == room {
		return c
	}
	return nil
}

// add reports false if the connection is there already.
func (r *Rooms) add(c *Connection) bool {
	room := c.Room()
	hash := r.hash(room)
	first := r.single[hash]
	there := first != nil && first.Room() == room
	if there && first.Serial == c.Serial {
		return false
	}
	if connections := r.sets[room]; connections != nil {
		return connections.add(c)
	}
	if first == nil {
		r.addSingle(hash, c)
		return true
	}
	connections := &set{list: make([]*Connection, 0, 2)}
	if there {
		connections.add(first)
		delete(r.single, hash)
	}
	connections.add(c)
	r.sets[strings.Clone(room)] = connections // the key may live longer than c, whose name it would hold
	r.peakSets = max(r.peakSets, len(r.sets))
	return true
}

// addSingle adds a room with one connection to single, where its hash is free.
func (r *Rooms) addSingle(hash uint64, c *Connection) {
	r.single[hash] = c
	r.peakSingle = max(r.peakSingle, len(r.single))
}

// remove reports false if the connection was not there.
func (r *Rooms) remove(c *Connection) bool {
	room := c.Room()
	hash := r.hash(room)
	if one := r.singleOf(hash, room); one != nil {
		if one.Serial != c.Serial {
			return false
		}
		delete(r.single, hash)
		r.single = shrink(r.single, &r.peakSingle)
		return true
	}
	connections := r.sets[room]
	if connections == nil || !connections.remove(c.Serial) {
		return false
	}
	switch {
	case len(connections.list) == 0:
	case len(connections.list) == 1 && r.single[hash] == nil:
		r.addSingle(hash, connections.list[0])
	default:
		return true
	}
	delete(r.sets, room)
	r.sets = shrink(r.sets, &r.peakSets)
	return true
}

// shrink returns a smaller copy of a map that has a quarter of its peak or less, because a map does not give its memory back. *peak
// is the most entries that the map had; it is set to those of the copy.
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

// add reports false if the connection is there already. The newest connection mostly has the highest serial and is appended, which
// callers that have the list do not see.
func (s *set) add(c *Connection) bool {
	at, there := s.find(c.Serial)
	if there {
		return false
	}
	if at < len(s.list) {
		s.unshare()
	}
	s.list = slices.Insert(s.list, at, c)
	return true
}

func (s *set) remove(serial uint64) bool {
	at, there := s.find(serial)
	if !there {
		return false
	}
	s.unshare()
	s.list = slices.Delete(s.list, at, at+1)
	s.trim()
	return true
}

// trim gives memory back if the list uses less than a quarter of it.
func (s *set) trim() {
	if cap(s.list) > 32 && len(s.list) < cap(s.list)/4 {
		s.list = slices.Clone(s.list)
	}
}

// unshare copies the list if a caller of Connections has it.
func (s *set) unshare() {
	if s.shared.Load() {
		s.list = slices.Clone(s.list)
		s.shared.Store(false)
	}
}
