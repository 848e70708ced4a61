package transport

import (
	"bytes"
	"net"
	"time"
	"unicode/utf8"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// Parked sockets. A socket that has been quiet for Options.ParkAfter and stands between
// two messages, with nothing to be written, gives back its goroutine, its buffers
// and what Go's runtime keeps for a connection. What stays is the record and a
// descriptor, which the kernel watches (poller_linux.go).
//
// One goroutine of the handler, attend, hears of first bytes. It reads them into a buffer of its
// own, answers what needs no room (pings, pongs, the configured message), hands the room a
// short message that has come alone after a quiet time, and brings the socket back with all
// others, which the new reader then finds in front of what the connection has. A client
// that says a word now and then so costs no coming and going; one that has begun to talk has
// a reader of its own, for attend is one for all. Nothing is lost or overtaken: there is one
// reader at any time, and who has the bytes is decided with the socket's mu held.
//
// What a room sends to a parked socket is written with one call that does not wait, if it is short. What
// is longer, and what the kernel does not take, makes the socket active, with a queue and a flusher as ever: a room
// that sends a megabyte to hundreds of parked sockets does not copy all of it into the kernel in its turn.

// parkedRead is how much is read of a parked socket at once: a heart-beat, most actions.
const parkedRead = 512

// park takes the descriptor of a socket out of its connection and lets the rest go. It is
// called by the reader of a, at a boundary, which ends if that is done.
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
	fd, err := takeOver(a.wire.Conn)
	if err != nil {
		return false // there are no descriptors left, say: it stays as it is
	}
	if err := p.add(fd, s.slot); err != nil {
		closeDescriptor(fd)
		return false
	}
	a.wire.Conn.Close() // its descriptor; the connection lives on in ours
	s.fd, s.active = int32(fd), nil
	s.h.parked.Add(1)
	return true
}

// A leftover is what a parked socket was to send and has not sent: frames but for their first done bytes, or one
// urgent frame of which nothing has left.
type leftover struct {
	frames []queued
	done   int
	urgent []byte
}

// unpark makes a parked socket active again, with what it has left to send. early has been read of it already.
// While attend has bytes of the socket's in its hands it is attend that starts the reader. mu is held.
func (s *socket) unpark(early []byte, left leftover) *active {
	a := s.reopen(early, left)
	if !s.offering {
		go a.serve() // ends when the socket is parked or ends
	}
	return a
}

// reopen gives a parked socket an active half, whose reader is the caller's to start. mu is
// held. The link has what is left to send before anybody else can queue something, which would stand in the middle
// of a frame. A descriptor that Go's runtime does not take ends the socket, as a broken line would.
func (s *socket) reopen(early []byte, left leftover) *active {
	fd := int(s.fd)
	address := peerOf(fd)
	s.h.listening().remove(fd)
	s.fd = -1
	s.h.parked.Add(-1)
	conn, err := giveBack(fd)
	if err != nil {
		s.h.opts.Logger.Error("a parked socket could not be brought back", "room", s.room(), "error", err)
		conn = brokenConn()
	}
	s.active = &active{s: s, address: address}
	s.active.take(conn, early)
	switch {
	case left.urgent != nil:
		s.active.link.hasten(left.urgent)
	case len(left.frames) > 0:
		s.active.link.resume(left.frames, left.done)
	}
	return s.active
}

// brokenConn is a connection that has ended.
func brokenConn() net.Conn {
	here, there := net.Pipe()
	here.Close()
	there.Close()
	return here
}

// listen is the poller, which the first parked socket makes; nil where there can be none.
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
		go h.attend(p) // ends when the poller is closed, with the last socket
	}
	return h.poller
}

// listening is the poller while a socket is parked.
func (h *Handler) listening() *poller {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.poller
}

// attend serves the parked sockets that have something to say, until the poller is closed.
func (h *Handler) attend(p *poller) {
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
			if s := h.sockets.at(slot); s != nil { // or it has left, and its event is an old one
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

// ready reads what a parked socket has. Where there is nothing the event was meant for
// another that had the slot before, or somebody was faster.
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
	case n <= 0: // its end: a reader will find out which
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

// contain ends a socket whose message made attend panic, and nothing but it. mu is held.
func (s *socket) contain() {
	v := recover()
	if v == nil {
		return
	}
	s.h.opts.panicked("serving a parked socket panicked", s.room(), v)
	waits := s.fd < 0 // it was brought back meanwhile, and its reader was to be started here
	if a := s.awake(); a != nil {
		a.link.Close(syncproto.CloseInternal, string(syncproto.CodeActionFailed))
		if waits {
			go a.serve() // ends when the socket does
		}
	}
}

// answer takes bytes of a parked socket. If the node has too much to do, and others came a short time ago, it brings the
// socket back, whose reader waits for its share. Else it serves whole frames as long as it can, one message for the room among them at most, and brings
// the socket back with the rest if there is any.
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
		case s.fd < 0: // it has been brought back meanwhile, and waits for its reader
			s.active.wire.early = bytes.Clone(data)
			go s.active.serve() // ends when the socket is parked or ends
			return
		case !done:
			s.unpark(bytes.Clone(data), leftover{})
			return
		case len(reply) > 0 && !s.hastenParked(data, reply):
			return
		}
	}
}

// reply is what is answered to a frame without the room; false if that cannot be.
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

// offer hands a message to the room; false if it needs a reader. mu is held, but given
// back meanwhile, for the answer may come at once.
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

// wholeFrame reads a client's frame that is whole, final and has a short length, and
// unmasks its payload into memory of its own; size 0: there is none. It is for frames that need no
// more than a glance: whatever is odd about the others, a reader will say so.
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

// parkedWrite is how many bytes are written to a parked socket by who sends them.
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

// writeParked writes frames to a parked socket at once. What it does not take is queued,
// and the socket is active then, with early for its reader: false. mu is held.
func (s *socket) writeParked(early []byte, frames ...queued) bool {
	done, all := s.push(frames)
	if !all {
		s.unpark(bytes.Clone(early), leftover{frames: frames, done: done})
	}
	return all
}

// hastenParked is writeParked for a ping, a pong or an automatic answer, which are urgent: one of which
// the kernel has taken nothing leaves before the answers to what early has.
func (s *socket) hastenParked(early, frame []byte) bool {
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

// push writes frames with one call, or each with one where they are large, and gives how
// many bytes of them were taken.
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
