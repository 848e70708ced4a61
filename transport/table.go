package transport

// A table contains the sockets of a handler, each in a slot that it has until it leaves, and the time
// at which keep-alive checks it next. The times are in a slice of their own, so going through a hundred
// thousand of them touches no socket.
type table struct {
	sockets []*socket // nil in a free slot
	due     []int64   // in the handler's time
	free    []int32   // slots
}

func (t *table) len() int { return len(t.sockets) - len(t.free) }

func (t *table) add(s *socket, due int64) {
	if n := len(t.free); n > 0 {
		s.slot = t.free[n-1]
		t.free = t.free[:n-1]
		t.sockets[s.slot], t.due[s.slot] = s, due
		return
	}
	s.slot = int32(len(t.sockets))
	t.sockets, t.due = append(t.sockets, s), append(t.due, due)
}

func (t *table) remove(s *socket) {
	t.sockets[s.slot] = nil
	t.free = append(t.free, s.slot)
	if t.len() == 0 {
		*t = table{} // releases the memory
	}
}

// at returns the socket of a slot, or nil if the slot is free.
func (t *table) at(slot int32) *socket {
	if int(slot) >= len(t.sockets) {
		return nil
	}
	return t.sockets[slot]
}

func (t *table) all() []*socket {
	list := make([]*socket, 0, t.len())
	for _, s := range t.sockets {
		if s != nil {
			list = append(list, s)
		}
	}
	return list
}

// expired appends to into the sockets that are due, from slot from on and as many as fit. It returns the
// slot to continue at, or -1.
func (t *table) expired(from int, now int64, into []*socket) ([]*socket, int) {
	for slot := from; slot < len(t.sockets); slot++ {
		if t.due[slot] > now || t.sockets[slot] == nil {
			continue
		}
		if len(into) == cap(into) {
			return into, slot
		}
		into = append(into, t.sockets[slot])
	}
	return into, -1
}
