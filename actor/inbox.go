package actor

// The inbox of an actor. Each sender has a line (a queue) of its own, and the lines take turns. So a
// sender that floods the actor delays only itself. (The order is that of deficit round robin,
// Shreedhar and Varghese 1995.)
//
//	ahead   the actor's own messages, and those that were put back or settled: served first, in order
//	fresh   the lines of senders with one short message waiting
//	lines   the lines of all other senders with something waiting; it is the first one's turn
//
// In its turn a line gets one credit. A message costs one credit, and one more for each KiB, up to
// maxCost. A line keeps the credit that it does not spend until it is empty.
//
// A sender that waits for each answer before it sends more has one message in the inbox at a time. In a
// simple round it would wait for all senders that flood the actor. So fresh lines are served before the
// others. After favour fresh messages in a row one of the other lines is served, so that many senders of one
// message each do not starve them. (Serving the shortest queue first is from Carofiglio and Muscariello
// 2010. Here there are only two lengths.)

const (
	// keepCap is the largest capacity with which an empty buffer of envelopes is kept for the
	// next burst. 64 pointers are 512 bytes.
	keepCap = 64
	// keepLines is how many empty lines are kept.
	keepLines = 4
	// fewLines is the number of lines up to which a line is searched. More lines have an
	// index.
	fewLines = 8

	costBytes = 1 << 10 // each costBytes of a message cost one credit
	maxCost   = 16

	// favour is how many fresh messages are served before one of the other lines.
	favour = 16
	// maxFresh is the highest cost of a fresh message.
	maxFresh = 4
)

// inbox is not safe for concurrent use. Callers of put bound it with admits.
type inbox struct {
	count, bytes int // of all that waits
	ahead        chain
	fresh        lineChain
	favoured     int              // fresh messages served since one of the other lines
	last         *line            // the last of the ring of lines; its next is the first. nil if the ring is empty
	lines        int              // in the ring
	index        map[uint64]*line // by sender; nil while there are few lines
	spare        *line            // empty lines, for the next senders
	spares       int
	began        bool // the first line has got the credit of its turn
}

// A chain is a first-in-first-out queue of envelopes, linked by their next.
type chain struct{ first, last *Envelope }

func (c *chain) put(e *Envelope) {
	if c.last == nil {
		c.first = e
	} else {
		c.last.next = e
	}
	c.last = e
}

func (c *chain) take() *Envelope {
	e := c.first
	c.first, e.next = e.next, nil
	if c.first == nil {
		c.last = nil
	}
	return e
}

// join appends other to c, and leaves other empty.
func (c *chain) join(other *chain) {
	switch {
	case other.first == nil:
		return
	case c.last == nil:
		c.first = other.first
	default:
		c.last.next = other.first
	}
	c.last = other.last
	*other = chain{}
}

// A line is the queue of one sender.
type line struct {
	chain
	sender       uint64
	count, bytes int
	credit       int
	next         *line // in the ring, the next fresh one, or the next spare one
}

// A lineChain is a first-in-first-out queue of lines, linked by their next.
type lineChain struct {
	first, last *line
	count       int
}

func (c *lineChain) put(l *line) {
	l.next = nil
	if c.last == nil {
		c.first = l
	} else {
		c.last.next = l
	}
	c.last = l
	c.count++
}

func (c *lineChain) take() *line {
	l := c.first
	if c.first = l.next; c.first == nil {
		c.last = nil
	}
	c.count--
	return l
}

func (b *inbox) len() int { return b.count }

func (b *inbox) put(e *Envelope) {
	b.count++
	b.bytes += e.bytes
	if e.sender == 0 {
		b.ahead.put(e)
		return
	}
	l := b.find(e.sender)
	if l == nil {
		l = b.open(e)
	}
	l.put(e)
	l.count++
	l.bytes += e.bytes
}

// find returns a sender's line, or nil if nothing of it waits.
func (b *inbox) find(sender uint64) *line {
	if b.index != nil {
		return b.index[sender]
	}
	l := b.last
	for range b.lines {
		if l.sender == sender {
			return l
		}
		l = l.next
	}
	for l = b.fresh.first; l != nil && l.sender != sender; {
		l = l.next
	}
	return l
}

// open begins a line for its first message: a fresh line, or one at the end of the ring.
func (b *inbox) open(e *Envelope) *line {
	l := b.spare
	if l == nil {
		l = new(line)
	} else {
		b.spare = l.next
		b.spares--
	}
	*l = line{sender: e.sender}
	if e.cost() <= maxFresh {
		b.fresh.put(l)
	} else {
		b.queueUp(l)
	}
	switch {
	case b.index != nil:
		b.index[l.sender] = l
	case b.lines+b.fresh.count > fewLines:
		b.index = b.makeIndex()
	}
	return l
}

// queueUp puts a line at the end of the ring.
func (b *inbox) queueUp(l *line) {
	if b.last == nil {
		l.next = l
	} else {
		l.next, b.last.next = b.last.next, l
	}
	b.last = l
	b.lines++
}

func (b *inbox) makeIndex() map[uint64]*line {
	index := make(map[uint64]*line)
	for l := b.fresh.first; l != nil; l = l.next {
		index[l.sender] = l
	}
	for l, n := b.last, b.lines; n > 0; n-- {
		index[l.sender] = l
		l = l.next
	}
	return index
}

// closeFirst removes the first line, which is empty, from the ring.
func (b *inbox) closeFirst() {
	l := b.last.next
	b.lines--
	if b.lines == 0 {
		b.last = nil
	} else {
		b.last.next = l.next
	}
	b.began = false
	b.drop(l)
}

// drop forgets a line that is empty and in no list.
func (b *inbox) drop(l *line) {
	if b.lines+b.fresh.count == 0 {
		b.index = nil
	} else {
		delete(b.index, l.sender)
	}
	if b.spares < keepLines {
		l.next, b.spare = b.spare, l
		b.spares++
	}
}

// first returns the message that is served next, or nil if there is none.
func (b *inbox) first() any {
	switch {
	case b.ahead.first != nil:
		return b.ahead.first.Message
	case b.favours():
		return b.fresh.first.first.Message
	case b.last != nil:
		return b.last.next.first.Message
	}
	return nil
}

// favours reports whether the next message is a fresh one, if none is ahead. A line with more than one message is no longer
// fresh, and favours moves it to the ring.
func (b *inbox) favours() bool {
	for l := b.fresh.first; l != nil && l.count > 1; l = b.fresh.first {
		b.queueUp(b.fresh.take())
	}
	return b.fresh.first != nil && (b.last == nil || b.favoured < favour)
}

// take moves up to n envelopes to dst, in the order in which they are served.
func (b *inbox) take(dst []*Envelope, n int) []*Envelope {
	for ; n > 0 && b.count > 0; n-- {
		e := b.pop()
		b.count--
		b.bytes -= e.bytes
		dst = append(dst, e)
	}
	return dst
}

// pop removes the next envelope from its chain. The inbox is not empty.
func (b *inbox) pop() *Envelope {
	if b.ahead.first != nil {
		return b.ahead.take()
	}
	if b.favours() {
		b.favoured++
		return b.popFresh()
	}
	b.favoured = 0
	for {
		l := b.last.next
		if !b.began {
			l.credit++
			b.began = true
		}
		cost := l.first.cost()
		if l.credit < cost {
			b.last, b.began = l, false // the next one's turn
			continue
		}
		l.credit -= cost
		e := l.take()
		l.count--
		l.bytes -= e.bytes
		if l.first == nil {
			b.closeFirst()
		}
		return e
	}
}

// popFresh removes the envelope of the first fresh line.
func (b *inbox) popFresh() *Envelope {
	l := b.fresh.take()
	e := l.take()
	e.single = true
	b.drop(l)
	return e
}

// cost returns the credits that a message costs its sender.
func (e *Envelope) cost() int { return min(1+e.bytes/costBytes, maxCost) }

// settle fixes the order of everything that waits, so that later messages do not overtake it.
func (b *inbox) settle() {
	var order chain
	order.join(&b.ahead)
	for b.last != nil || b.fresh.first != nil {
		order.put(b.pop())
	}
	b.ahead = order
}

// putBack puts envelopes before all that wait, in their order.
func (b *inbox) putBack(envs []*Envelope) {
	var front chain
	for _, e := range envs {
		b.count++
		b.bytes += e.bytes
		front.put(e)
	}
	front.join(&b.ahead)
	b.ahead = front
}

// A limit is how much may wait.
type limit struct{ count, bytes int }

// admits reports whether one more message may wait. A sender may have as much waiting as it leaves free
// for others: one alone half of the inbox, two a third each. (This is the dynamic threshold of shared-memory
// switches, Choudhury and Hahne 1998.) An empty inbox accepts any message.
func (b *inbox) admits(e *Envelope, most limit) bool {
	count, bytes := b.count, b.bytes
	if count == 0 {
		return true
	}
	if e.sender == 0 {
		return count < most.count && e.bytes <= most.bytes-bytes
	}
	var own limit
	if l := b.find(e.sender); l != nil {
		own = limit{l.count, l.bytes}
	}
	return own.count < most.count-count && own.bytes+e.bytes <= most.bytes-bytes-e.bytes
}

// recycle empties a buffer for its next use, or returns nil for a large one.
func recycle(buf []*Envelope) []*Envelope {
	if cap(buf) > keepCap {
		return nil
	}
	clear(buf)
	return buf[:0]
}
