package transport

import (
	"encoding/binary"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/syncproto"
)

// Keep-alive finds sockets, parked or not, whose client is gone without a close. One timer for all
// sockets goes through the table and checks those that are due. Whatever a client sends counts as a
// sign of life. Its time is only noted, so reading needs no timer.
//
// A client that is sent much may be slow to answer. The ping is written only after the current frame,
// which can be megabytes long, and the pong comes only after what is in buffers on the way has
// arrived. So while bytes wait for a client, bytes that leave count as a sign of life too
// (progress.go), and the time for an unanswered ping begins again with each.
//
// A ping has a second purpose. TCP keeps order, so the pong shows that the client has everything that
// was sent before the ping. From that point a room brings a returning client up to date. So a
// socket that was sent something is pinged too, even if its client is not silent.

// sweepEvery returns the interval of sweep.
func (o *Options) sweepEvery() time.Duration {
	shortest := min(o.PingInterval, o.PongTimeout, o.ReadTimeout)
	return min(max(shortest/8, time.Millisecond), time.Second)
}

// sweep checks the sockets that are due. It runs on the timer's goroutine and does not block.
func (h *Handler) sweep() {
	const several = 256 // sockets that are found while the handler's lock is held once
	now := h.now()
	batch := make([]*socket, 0, several)
	for slot := 0; slot >= 0; {
		h.mu.Lock()
		batch, slot = h.sockets.expired(slot, now, batch[:0])
		h.mu.Unlock()
		for _, s := range batch {
			h.postpone(s, now+int64(s.check(now)))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sweeper != nil {
		h.sweeper.Reset(h.opts.sweepEvery())
	}
}

// postpone sets when a socket is to be checked again.
func (h *Handler) postpone(s *socket, due int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sockets.at(s.slot) == s { // it may have left
		h.sockets.due[s.slot] = due
	}
}

// check checks whether a socket is alive, and returns when to check again.
func (s *socket) check(now int64) (next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	opts := &s.h.opts
	next = opts.PingInterval // if it panics
	defer func() {
		if v := recover(); v != nil {
			opts.panicked("the check whether a socket is alive panicked", s.room(), v)
		}
	}()
	var began int64 // when the message that is being read began
	heard := s.heard.Load()
	if a := s.active; a != nil {
		if a.link.closing() {
			return opts.PingInterval // it ends by itself
		}
		if began = a.messageAt.Load(); began != 0 && now-began >= int64(opts.ReadTimeout) {
			a.link.Close(syncproto.ClosePolicy, "read_timeout")
			return opts.PingInterval
		}
		if a.busy.Load() {
			heard = now // nobody reads
		}
	} else if s.fd < 0 {
		return opts.PingInterval // it has ended
	}
	if s.pinged != 0 && heard < s.pinged {
		next = s.awaitPong(now, heard)
	} else if quiet := time.Duration(now - heard); quiet >= opts.PingInterval || s.pinged == 0 && s.behind() || s.awaitsReceipt() {
		s.ping(now)
		next = opts.PongTimeout / checksPerTimeout
	} else {
		s.pinged = 0
		next = opts.PingInterval - quiet
	}
	if began != 0 {
		next = min(next, opts.ReadTimeout-time.Duration(now-began))
	}
	return max(next, time.Millisecond)
}

// receiptEvery is the time after an answer at which its socket is pinged.
const receiptEvery = time.Second

// Receipt makes the socket be pinged soon, and again after each pong, until a pong covers all answers that were
// sent. It does not block.
func (s *socket) Receipt() {
	s.mu.Lock()
	s.receipt = true
	s.mu.Unlock()
	s.h.postpone(s, s.h.now()+int64(min(receiptEvery, s.h.opts.PingInterval)))
}

// awaitsReceipt reports whether an answer may not have arrived. mu is held.
func (s *socket) awaitsReceipt() bool {
	session := s.session.Load()
	if s.receipt && session != nil && inner.OfSession(session).Received() {
		s.receipt = false
	}
	return s.receipt && session != nil
}

// checksPerTimeout is how often within PongTimeout a socket with an unanswered ping is checked for bytes that leave.
const checksPerTimeout = 8

// awaitPong closes a socket that has not answered its ping in time, and returns when to check
// again. The time is PongTimeout after the ping, or, if that is later, PongTimeout after the socket would have
// been pinged for its silence. mu is held.
func (s *socket) awaitPong(now, heard int64) (next time.Duration) {
	opts := &s.h.opts
	if s.progress() {
		s.pinged, s.slow = now, true
	}
	end := max(s.pinged, heard+int64(opts.PingInterval)) + int64(opts.PongTimeout)
	if s.slow { // what has left may be in buffers on the way
		end = s.pinged + int64(opts.PingInterval+opts.PongTimeout)
	}
	if now >= end {
		s.awake().link.giveUp(syncproto.CloseKeepaliveTimeout, "keepalive_timeout")
		return opts.PingInterval
	}
	return min(time.Duration(end-now), opts.PongTimeout/checksPerTimeout)
}

// behind reports whether the room has sent something that no pong has confirmed.
func (s *socket) behind() bool {
	session := s.session.Load()
	return session != nil && inner.OfSession(session).Mark() > inner.OfSession(session).Confirmed()
}

// ping sends a ping. mu is held.
func (s *socket) ping(now int64) {
	s.pinged, s.slow = now, false
	s.number++
	s.mark = 0
	if session := s.session.Load(); session != nil {
		s.mark = inner.OfSession(session).Mark()
	}
	frame := pingFrame(uint64(s.number))
	s.before = s.flow()
	if s.active != nil {
		s.mark = s.active.link.ping(frame, s.mark)
		return
	}
	s.writeParkedUrgent(nil, frame)
}

// pong handles a pong. A pong that answers none of the server's pings only shows that the client
// is alive.
func (s *socket) pong(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ponged(payload)
}

// ponged is pong with mu held.
func (s *socket) ponged(payload []byte) {
	session := s.session.Load()
	if session != nil && s.number > 0 && len(payload) == 8 && binary.BigEndian.Uint64(payload) == uint64(s.number) {
		inner.OfSession(session).Confirm(s.mark)
	}
}
