package transport

import (
	"bytes"
	"net"
	"time"
	"unicode/utf8"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// Parked sockets. A socket is parked when it has been quiet for Options.ParkAfter, is between
// two messages, and has nothing to write. It gives up its goroutine, its buffers and its net.Conn.
// It keeps its record and a descriptor, which the kernel watches (poller_linux.go).
//
// One goroutine of the handler, serveParked, reads the parked sockets that have bytes. It answers what
// needs no room (pings, pongs, the configured message). It passes a short message that comes alone
// after a quiet time to the room. With anything else it makes the socket active: the new reader gets
// these bytes first. So a client that sends something now and then costs no change of state. A
// client that sends more gets a reader of its own, because serveParked is one goroutine for all. Nothing is lost
// or reordered: one goroutine reads at any time, and socket.mu decides which.
//
// Short frames that a room sends to a parked socket are written with one call that does not wait. If they
// are longer, or the kernel does not accept them whole, the socket becomes active, with a queue and a flusher. So
// a room that sends a megabyte to hundreds of parked sockets does not copy all of it into the kernel in one turn.

// parkedRead is how much is read of a parked socket at once: enough for a heartbeat and most actions.
const parkedRead = 512

// park duplicates the descriptor of a socket and closes the rest of its active half. The reader of a calls it
// between two messages, and ends if it returns true.
func (s *socket) park(a *active) (done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session.Load() == nil || !a.link.idle() {
		return false
	}
	p := s.h.listen()
	if p == nil {
		return false
	}
	fd, err := dupDescriptor(a.wire.Conn)
	if err != nil {
		return false // for example because no descriptors are left: the socket stays active
	}
	if err := p.add(fd, s.slot); err != nil {
		closeDescriptor(fd)
		return false
	}
	a.wire.Conn.Close() // the duplicate keeps the connection open
	s.fd, s.active = int32(fd), nil
	s.h.parked.Add(1)
	return true
}

// A leftover is what a parked socket still has to send: frames without their first done bytes, or one urgent
// frame.
type leftover struct {
	frames []queued
	done   int
	urgent []byte
}

// unpark makes a parked socket active, with what it still has to send. early was already read from it. While
// serveParked offers a message of the socket to the room, serveParked starts the reader afterwards. mu is held.
func (s *socket) unpark(early []byte, left leftover) *active {
	a := s.reopen(early, left)
	if !s.offering {
		go a.serve() // ends when the socket is parked or ends
	}
	return a
}

// reopen gives a parked socket an active half, whose reader the caller starts. mu is held, so the link gets what is left
// to send before anything else is queued in the middle of a frame. If Go's runtime does not accept the descriptor,
// the socket ends like one with a broken connection.
func (s *socket) reopen(early []byte, left leftover) *active {
	fd := int(s.fd)
	address := peerNetwork(fd)
	s.h.listening().remove(fd)
	s.fd = -1
	s.h.parked.Add(-1)
	conn, err := connFromDescriptor(fd)
	if err != nil {
		s.h.opts.Logger.Error("a parked socket could not be made active", "room", s.room(), "error", err)
		conn = brokenConn()
	}
	s.active = &active{s: s, address: address}
	s.active.take(conn, early)
	switch {
	case left.urgent != nil:
		s.active.link.sendUrgent(left.urgent)
	case len(left.frames) > 0:
		s.active.link.resume(left.frames, left.done)
	}
	return s.active
}

// brokenConn returns a closed connection.
func brokenConn() net.Conn {
	here, there := net.Pipe()
	here.Close()
	there.Close()
	return here
}

// listen returns the poller, and makes it for the first parked socket. It returns nil if that fails.
func (h *Handler) listen() *poller {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.poller == nil {
		p, err := newPoller()
		if err != nil {
			h.opts.Logger.Error("sockets cannot be parked", "error", err)
			return nil
		}
		h.poller = p
		go h.serveParked(p) // ends when the poller is closed, with the last socket
	}
	return h.poller
}

// listening returns the poller while a socket is parked.
func (h *Handler) listening() *poller {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.poller
}

// serveParked serves the parked sockets that have something to read, until the poller is closed.
func (h *Handler) serveParked(p *poller) {
	var slots []int32
	var ready []*socket
	buf := make([]byte, parkedRead)
	for {
		var err error
		if slots, err = p.wait(slots[:0]); err != nil {
			return
		}
		h.mu.Lock()
		ready = ready[:0]
		for _, slot := range slots {
			if s := h.sockets.at(slot); s != nil { // nil: the socket has left, and the event is old
				ready = append(ready, s)
			}
		}
		h.mu.Unlock()
		for _, s := range ready {
			s.ready(p, buf)
		}
		clear(ready)
	}
}

// ready reads what a parked socket has. If there is nothing to read, the event was for an earlier socket of
// the slot.
func (s *socket) ready(p *poller, buf []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.contain()
	if s.fd < 0 {
		return
	}
	n, again := readDescriptor(int(s.fd), buf)
	switch {
	case again:
	case n <= 0: // the connection has ended: a reader will get the error
		a := s.reopen(nil, leftover{})
		a.wire.parks = false
		go a.serve() // ends when the socket does
		return
	default:
		now := s.h.now()
		quiet := time.Duration(now - s.heard.Swap(now))
		if s.answer(buf[:n], quiet >= s.h.opts.ParkAfter); s.fd < 0 {
			return
		}
	}
	if p.rearm(int(s.fd), s.slot) != nil {
		s.unpark(nil, leftover{})
	}
}

// contain recovers from a panic of serveParked, and ends the socket whose message caused it. mu is held.
func (s *socket) contain() {
	v := recover()
	if v == nil {
		return
	}
	s.h.opts.panicked("serving a parked socket panicked", s.room(), v)
	waits := s.fd < 0 // the socket became active meanwhile, and its reader is to be started here
	if a := s.awake(); a != nil {
		a.link.Close(syncproto.CloseInternal, string(syncproto.CodeActionFailed))
		if waits {
			go a.serve() // ends when the socket does
		}
	}
}

// answer handles bytes of a parked socket. If the node is congested and other bytes came a short time ago, it makes the
// socket active, and the reader waits for its share. Otherwise it handles whole frames, with at most one message for the
// room among them, and makes the socket active with the rest if there is any.
func (s *socket) answer(data []byte, alone bool) {
	if !alone && s.h.host.Shares().Congested() {
		s.unpark(bytes.Clone(data), leftover{})
		return
	}
	for len(data) > 0 {
		op, payload, size := wholeFrame(data)
		reply, done := s.reply(op, payload)
		if !done && alone && size > 0 {
			done, alone = s.offer(op, payload), false
		}
		if done {
			data = data[size:]
		}
		switch {
		case s.fd < 0: // the socket became active meanwhile, and waits for its reader
			s.active.wire.early = bytes.Clone(data)
			go s.active.serve() // ends when the socket is parked or ends
			return
		case !done:
			s.unpark(bytes.Clone(data), leftover{})
			return
		case len(reply) > 0 && !s.writeParkedUrgent(data, reply):
			return
		}
	}
}

// reply returns the answer to a frame that needs no room. ok is false if the frame needs more.
func (s *socket) reply(op byte, payload []byte) (frame []byte, ok bool) {
	switch op {
	case opPing:
		return pongFrame(payload), true
	case opPong:
		s.ponged(payload)
		return nil, true
	case opText:
		if s.h.draining.Load() {
			return nil, false
		}
		if answer := s.session.Load().AutoAnswer(payload, false); answer != nil {
			return answer.Wire(), true
		}
	}
	return nil, false
}

// offer passes a message to the room. It returns false if the message needs a reader. mu is held, but released
// during the call, because the room's answer may be sent at once.
func (s *socket) offer(op byte, payload []byte) (taken bool) {
	if op != opText && op != opBinary || int64(len(payload)) > s.h.opts.ReadLimit || s.h.draining.Load() {
		return false
	}
	if op == opText && !utf8.Valid(payload) {
		return false
	}
	s.offering = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.offering = false
	}()
	return s.session.Load().Offer(payload, op == opBinary)
}

// wholeFrame reads a client's frame that is complete, final and short, and returns its unmasked payload in
// new memory. size is 0 if data does not begin with such a frame. Any other frame is left to a reader,
// which also finds what is wrong with it.
func wholeFrame(data []byte) (op byte, payload []byte, size int) {
	if len(data) < 2 || data[0]&finBit == 0 || data[1]&^maskBit == 127 || checkHeader(data[0], data[1], false) != nil {
		return 0, nil, 0
	}
	start := headerSize(data[1])
	if len(data) < start {
		return 0, nil, 0
	}
	h, err := parseHeader(data[:start])
	if size = start + int(h.size); err != nil || len(data) < size {
		return 0, nil, 0
	}
	payload = bytes.Clone(data[start:size])
	unmask(payload, h.mask, 0)
	return h.op, payload, size
}

// parkedWrite is the number of bytes up to which a sender writes to a parked socket itself.
const parkedWrite = 32 << 10

// sendParked sends frames to a parked socket. mu is held.
func (s *socket) sendParked(frames []*hibernate.Frame) {
	wires, size := make([]queued, len(frames)), 0
	for i, f := range frames {
		wires[i] = queue(f)
		size += len(wires[i].wire)
	}
	if size > parkedWrite {
		s.unpark(nil, leftover{frames: wires})
		return
	}
	s.writeParked(nil, wires...)
}

// writeParked writes frames to a parked socket at once. If the kernel does not accept all, it queues the rest, makes
// the socket active, with early for its reader, and returns false. mu is held.
func (s *socket) writeParked(early []byte, frames ...queued) bool {
	done, all := s.push(frames)
	if !all {
		s.unpark(bytes.Clone(early), leftover{frames: frames, done: done})
	}
	return all
}

// writeParkedUrgent is writeParked for a ping, a pong or an automatic answer. If the kernel accepts nothing of the
// frame, it is sent before the answers to what early has.
func (s *socket) writeParkedUrgent(early, frame []byte) bool {
	own := []queued{{wire: frame}}
	done, all := s.push(own)
	switch {
	case all:
	case done == 0:
		s.unpark(bytes.Clone(early), leftover{urgent: frame})
	default:
		s.unpark(bytes.Clone(early), leftover{frames: own, done: done})
	}
	return all
}

// push writes frames with one call, or large ones with one call each. done is the number of bytes that the
// kernel accepted.
func (s *socket) push(frames []queued) (done int, all bool) {
	size := 0
	for _, f := range frames {
		size += len(f.wire)
	}
	if len(frames) > 1 && size <= gatherSize {
		gather := gathers.Get().(*[gatherSize]byte)
		defer gathers.Put(gather)
		joined := gather[:0]
		for _, f := range frames {
			joined = append(joined, f.wire...)
		}
		frames = []queued{{wire: joined}}
	}
	for _, f := range frames {
		n := writeDescriptor(int(s.fd), f.wire)
		if done += n; n < len(f.wire) {
			break
		}
	}
	return done, done == size
}
