package transport

import (
	"time"

	"github.com/denrooms/den/syncproto"
)

// A client that lost its connection comes back with the same _pk before the server has noticed, and
// the others see it twice. So the room has the older socket pinged at once. One that is alive answers, and stays: two
// live sockets may share one _pk.

// probeTimeout is how long a socket that is probed has to be heard.
const probeTimeout = 2 * time.Second

// Probe pings the socket now, and closes it if it is not heard within probeTimeout. It does not block.
func (s *socket) Probe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil && s.fd < 0 || s.active != nil && s.active.link.closing() {
		return // it ends or has ended
	}
	now := s.h.now()
	if s.pinged == 0 || s.heard.Load() >= s.pinged { // else a ping is on its way
		s.ping(now)
	}
	s.judgeLater(now)
}

// judgeLater looks at the end of probeTimeout whether the socket has been heard since a time.
func (s *socket) judgeLater(since int64) {
	time.AfterFunc(probeTimeout, func() { s.judge(since) })
}

// judge closes a socket that has not been heard since a time. A slow line gets more time as long as bytes leave.
func (s *socket) judge(since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if v := recover(); v != nil {
			s.h.opts.panicked("looking whether a socket is alive panicked", s.room(), v)
		}
	}()
	switch {
	case s.active == nil && s.fd < 0, s.heard.Load() >= since:
	case s.active != nil && s.active.busy.Load(): // nobody listens
	case s.progress():
		s.pinged, s.slow = s.h.now(), true
		s.judgeLater(since)
	default:
		s.awake().link.giveUp(syncproto.CloseKeepaliveTimeout, "keepalive_timeout")
	}
}
