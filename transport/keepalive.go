package transport

import (
	"encoding/binary"
	"time"

	"github.com/denrooms/den/syncproto"
)

// Finding sockets whose client is gone without a word, parked or not. One timer for all of
// them goes through the table of sockets and looks at those whose time has come;
// whatever the client sends counts as a sign of life and is only noted, so reading costs no
// timer.
//
// A client that is sent more than its line takes at once may be slow to answer: the ping leaves
// when the frame that is being written ends, which can be megabytes later, and the pong comes
// when what lies in buffers between here and there has arrived. So where bytes wait for the
// line, those that leave count as a sign of life, too (progress.go), and the time of
// an unanswered ping begins again with each.
//
// A ping does a second thing: TCP keeps order, so its pong tells that the client has
// what left before it. The room takes that as the
// point from which a returning client is brought up to date. So a socket that was
// sent something since is pinged too, even where it was heard.

// sweepEvery is how often the sockets' times are looked at.
func (o *Options) sweepEvery() time.Duration {
	shortest := min(o.PingInterval, o.PongTimeout, o.ReadTimeout)
	return min(max(shortest/8, time.Millisecond), time.Second)
}

// sweep runs on the timer's goroutine. It does not block.
func (h *Handler) sweep() {
	const several = 256 // sockets between two times that the handler's lock is free
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

// postpone says when a socket is to be looked at again.
func (h *Handler) postpone(s *socket, due int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sockets.at(s.slot) == s { // it may have left
		h.sockets.due[s.slot] = due
	}
}

// check looks whether a socket is alive, and says when to look again.
func (s *socket) check(now int64) (next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	opts := &s.h.opts
	next = opts.PingInterval // if it panics
	defer func() {
		if v := recover(); v != nil {
			opts.panicked("looking whether a socket is alive panicked", s.room(), v)
		}
	}()
	var began int64 // the message that is being read
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
			heard = now // nobody listens
		}
	} else if s.fd < 0 {
		return opts.PingInterval // it has ended
	}
	if s.pinged != 0 && heard < s.pinged {
		next = s.patience(now, heard)
	} else if quiet := time.Duration(now - heard); quiet >= opts.PingInterval || s.pinged == 0 && s.behind() || s.awaitsReceipt() {
		s.ping(now)
		next = opts.PongTimeout / looks
	} else {
		s.pinged = 0
		next = opts.PingInterval - quiet
	}
	if began != 0 {
		next = min(next, opts.ReadTimeout-time.Duration(now-began))
	}
	return max(next, time.Millisecond)
}

// receiptEvery is how long after an answer a socket is pinged for it.
const receiptEvery = time.Second

// Receipt has the socket pinged soon, and again with each pong, until one covers all answers that were
// sent. It does not block.
func (s *socket) Receipt() {
	s.mu.Lock()
	s.receipt = true
	s.mu.Unlock()
	s.h.postpone(s, s.h.now()+int64(min(receiptEvery, s.h.opts.PingInterval)))
}

// awaitsReceipt tells whether an answer may not have arrived. mu is held.
func (s *socket) awaitsReceipt() bool {
	session := s.session.Load()
	if s.receipt && session != nil && session.Received() {
		s.receipt = false
	}
	return s.receipt && session != nil
}

// looks is how often within PongTimeout is looked whether bytes leave for a socket whose
// ping is not answered.
const looks = 8

// patience closes a socket that has not answered its ping in time, and says when to look
// again. A ping that was sent only for its second purpose has until the socket would have been
// pinged anyway, and PongTimeout. mu is held.
func (s *socket) patience(now, heard int64) (next time.Duration) {
	opts := &s.h.opts
	if s.progress() {
		s.pinged, s.slow = now, true
	}
	end := max(s.pinged, heard+int64(opts.PingInterval)) + int64(opts.PongTimeout)
	if s.slow { // what has left may lie in buffers on the way
		end = s.pinged + int64(opts.PingInterval+opts.PongTimeout)
	}
	if now >= end {
		s.awake().link.giveUp(syncproto.CloseKeepaliveTimeout, "keepalive_timeout")
		return opts.PingInterval
	}
	return min(time.Duration(end-now), opts.PongTimeout/looks)
}

// behind tells whether the room has handed over what no pong has confirmed.
func (s *socket) behind() bool {
	session := s.session.Load()
	return session != nil && session.Mark() > session.Confirmed()
}

// ping sends a ping. mu is held.
func (s *socket) ping(now int64) {
	s.pinged, s.slow = now, false
	s.number++
	s.mark = 0
	if session := s.session.Load(); session != nil {
		s.mark = session.Mark()
	}
	frame := pingFrame(uint64(s.number))
	s.before = s.flow()
	if s.active != nil {
		s.mark = s.active.link.ping(frame, s.mark)
		return
	}
	s.hastenParked(nil, frame)
}

// pong takes what a pong carries. One that answers no ping of ours proves nothing
// but that the client lives.
func (s *socket) pong(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ponged(payload)
}

// ponged is pong with mu held.
func (s *socket) ponged(payload []byte) {
	session := s.session.Load()
	if session != nil && s.number > 0 && len(payload) == 8 && binary.BigEndian.Uint64(payload) == uint64(s.number) {
		session.Confirm(s.mark)
	}
}
