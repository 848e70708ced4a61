package hibernate

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// A Registry knows the connections of every room of a host. The zero Registry
// is ready for use. It must not be copied.
type Registry struct {
	serial atomic.Uint64

	mu    sync.Mutex
	rooms map[string]*set // by key; a room without connections is not in it
	total int
}

// A set is the connections of one room.
type set struct {
	mu    sync.Mutex
	conns map[uint64]*Connection
	list  []*Connection // the values of conns in the order of their serials; nil when to be made again
}

// Serial gives a number for a new connection.
func (r *Registry) Serial() uint64 { return r.serial.Add(1) }

// Add puts a connection into a room's set.
func (r *Registry) Add(key string, c *Connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[key]
	if room == nil {
		room = &set{conns: make(map[uint64]*Connection, 1)}
		if r.rooms == nil {
			r.rooms = make(map[string]*set)
		}
		r.rooms[key] = room
	}
	room.mu.Lock()
	defer room.mu.Unlock()
	if _, there := room.conns[c.Serial]; !there {
		r.total++
	}
	room.conns[c.Serial] = c
	room.list = nil
}

// Remove takes a connection out of its room and tells whether it was there.
func (r *Registry) Remove(key string, serial uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[key]
	if room == nil {
		return false
	}
	room.mu.Lock()
	defer room.mu.Unlock()
	if _, there := room.conns[serial]; !there {
		return false
	}
	delete(room.conns, serial)
	room.list = nil
	r.total--
	if len(room.conns) == 0 {
		delete(r.rooms, key)
	}
	return true
}

// Connections is a room's connections in the order in which they came. The
// slice is shared and must not be changed; it stays as it is when the set
// changes.
func (r *Registry) Connections(key string) []*Connection {
	r.mu.Lock()
	room := r.rooms[key]
	r.mu.Unlock()
	if room == nil {
		return nil
	}
	return room.snapshot()
}

// All is the connections of all rooms, in the order in which they came.
func (r *Registry) All() []*Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*Connection, 0, r.total)
	for _, s := range r.rooms {
		all = append(all, s.snapshot()...)
	}
	sortBySerial(all)
	return all
}

// Len is the number of connections of all rooms.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

func (s *set) snapshot() []*Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		list := make([]*Connection, 0, len(s.conns))
		for _, c := range s.conns {
			list = append(list, c)
		}
		sortBySerial(list)
		s.list = list
	}
	return s.list
}

func sortBySerial(list []*Connection) {
	slices.SortFunc(list, func(a, b *Connection) int { return cmp.Compare(a.Serial, b.Serial) })
}
