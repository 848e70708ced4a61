package transport

import "net"

// Whether bytes leave for a client that says nothing. What a write hands over is not gone: the
// kernel takes megabytes for a line that takes kilobytes. So where the kernel tells, what counts
// is what the other side has acknowledged; and the kernel is made to take little more than it
// can send, so that a ping does not queue up there. Elsewhere (other systems, other kinds of
// connections) what counts is what a connection took while more waited behind it.

// unsentBytes is how much the kernel takes for a socket beyond what it can send at once.
const unsentBytes = 2 * pieceSize

// A flow says how many bytes have left for a socket, from some beginning, and how many were to
// follow at that time: both modulo 2^32, for it is a part of the record.
type flow struct{ left, rest uint32 }

// endless is the rest of a flow that is as long as can be told from others.
const endless = 1 << 31

// flow looks at what leaves for a socket. mu is held.
func (s *socket) flow() flow {
	if s.fd >= 0 {
		left, rest, _ := acknowledged(int(s.fd))
		return flow{uint32(left), uint32(min(rest, endless))}
	}
	if s.active == nil {
		return flow{}
	}
	passed, waits := s.active.link.flow()
	left, rest, ok := acknowledgedOn(s.active.link.conn)
	switch {
	case !ok:
		return flow{uint32(passed), endless}
	case waits:
		rest = endless
	}
	return flow{uint32(left), uint32(min(rest, endless))}
}

// progress tells whether bytes have left since it or ping last looked, and not all that were to
// leave then: a client that takes all at once shows by its pong that it is there, and its
// kernel takes what comes now and then even if the client hangs. mu is held.
func (s *socket) progress() bool {
	before := s.before
	s.before = s.flow()
	moved := s.before.left - before.left
	return moved > 0 && moved < before.rest
}

// beneath is the connection that TLS goes over, or conn itself.
func beneath(conn net.Conn) net.Conn {
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return tls.NetConn()
	}
	return conn
}
