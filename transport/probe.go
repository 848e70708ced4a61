package transport

import (
	"time"

	"github.com/denrooms/den/syncproto"
)

// A client that lost its connection may come back with the same _pk before the server has noticed, and
// others see it twice. So the room has the older socket pinged at once. If that is alive it answers and stays, because two
// live sockets may share one _pk.

// probeTimeout is the time in which a probed socket must send something.
const probeTimeout = 2 * time.Second

// Probe pings the socket now, and closes it if nothing arrives from it within probeTimeout. It does not block.
func (s *socket) Probe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil && s.fd < 0 || s.active != nil && s.active.link.closing() {
		return // it ends or has ended
	}
	now := s.h.now()
	if s.pinged == 0 || s.heard.Load() >= s.pinged { // otherwise a ping is on its way
		s.ping(now)
	}
	s.checkProbeLater(now)
}

// checkProbeLater runs judge after probeTimeout.
func (s *socket) checkProbeLater(since int64) {
	time.AfterFunc(probeTimeout, func() { s.judge(since) })
}

// judge closes the socket if nothing has arrived from it since a time. A slow client gets more time as long as bytes leave.
func (s *socket) judge(since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if v := recover(); v != nil {
			s.h.opts.panicked("the check whether a socket is alive panicked", s.room(), v)
		}
	}()
	switch {
	case s.active == nil && s.fd < 0, s.heard.Load() >= since:
	case s.active != nil && s.active.busy.Load(): // nobody reads
	case s.progress():
		s.pinged, s.slow = s.h.now(), true
		s.checkProbeLater(since)
	default:
		s.awake().link.giveUp(syncproto.CloseKeepaliveTimeout, "keepalive_timeout")
	}
}
