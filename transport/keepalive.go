package transport

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/denrooms/den/syncproto"
)

// Finding sockets whose client is gone without a word. One timer a socket, no
// goroutine: whatever the client sends counts as a sign of life, so reading costs
// no timer.
//
// A ping does a second thing: it goes behind all that was queued, and TCP keeps
// order, so its pong tells that the client has it. The room takes that as the
// point from which a returning client is brought up to date. So a socket that was
// sent something since is pinged too, even where it was heard.

type keepalive struct {
	// Immutable from start on.

	socket *socket

	// Protected by mu.

	mu       sync.Mutex
	timer    *time.Timer // nil before start and after stop
	pinged   int64       // when the ping was sent that is not answered; 0: none
	number   uint64      // of the last ping
	mark     uint64      // what the room had handed over before that ping
	answered uint64      // the mark of the last pong
}

func (k *keepalive) start(s *socket) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.socket = s
	s.wire.heard.Store(s.h.now())
	k.timer = time.AfterFunc(s.h.opts.PingInterval, k.tick)
}

// stop ends keep-alive. A tick that runs at this moment finds that out.
func (k *keepalive) stop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}

// tick runs on the timer's goroutine. It does not block.
func (k *keepalive) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.timer == nil || k.socket.link.closing() {
		return
	}
	if next := k.check(); next > 0 {
		k.timer.Reset(next)
	}
}

// check says when to look again; 0: never. With mu held.
func (k *keepalive) check() time.Duration {
	s, opts := k.socket, &k.socket.h.opts
	now := s.h.now()
	began := s.messageAt.Load()
	if began != 0 && now-began >= int64(opts.ReadTimeout) {
		s.link.Close(syncproto.ClosePolicy, "read_timeout")
		return 0
	}
	heard := s.wire.heard.Load()
	if s.busy.Load() {
		heard = now // nobody listens
	}
	if k.pinged != 0 && heard < k.pinged {
		s.link.Close(syncproto.CloseKeepaliveTimeout, "keepalive_timeout")
		return 0
	}
	next := opts.PongTimeout
	if quiet := time.Duration(now - heard); quiet >= opts.PingInterval || k.behind() && k.pinged == 0 {
		k.ping(now)
	} else {
		k.pinged = 0
		next = opts.PingInterval - quiet
	}
	if began != 0 {
		next = min(next, opts.ReadTimeout-time.Duration(now-began))
	}
	return max(next, time.Millisecond)
}

// behind tells whether the room has handed over what no pong has confirmed.
func (k *keepalive) behind() bool { return k.socket.session.Load().Mark() > k.answered }

func (k *keepalive) ping(now int64) {
	k.pinged = now
	k.number++
	k.mark = k.socket.session.Load().Mark()
	k.socket.link.control(pingFrame(k.number))
}

// pong takes what a pong carries. One that answers no ping of ours proves nothing
// but that the client lives.
func (k *keepalive) pong(payload []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(payload) == 8 && binary.BigEndian.Uint64(payload) == k.number && k.socket != nil && k.number > 0 {
		k.answered = k.mark
		k.socket.session.Load().Confirm(k.mark)
	}
}
