package transport

import "net"

// Whether bytes leave for a silent client. Bytes that were written may still be in the kernel, which accepts
// megabytes for a connection that sends kilobytes. So on Linux the bytes count that the other side has
// acknowledged. Also, the kernel is told to accept little more than it can send, so that a ping does not
// wait there. On other systems, and for other kinds of connections, the bytes count that the connection
// took while more waited.

// unsentBytes is how much the kernel accepts for a socket beyond what it can send at once.
const unsentBytes = 2 * pieceSize

// A flow is how many bytes have left for a socket since some beginning, and how many were to
// follow at that time. Both are modulo 2^32, to keep the socket's record small.
type flow struct{ left, rest uint32 }

// endless is the rest of a flow of unknown length: more than any real one.
const endless = 1 << 31

// flow measures what leaves for a socket. mu is held.
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

// progress reports whether bytes have left since the last measurement, but fewer than were to leave. If all have
// left, the pong must show that the client is alive, because its kernel accepts small amounts
// even if the client hangs. mu is held.
func (s *socket) progress() bool {
	before := s.before
	s.before = s.flow()
	moved := s.before.left - before.left
	return moved > 0 && moved < before.rest
}

// underlyingConn returns the connection under TLS, or conn itself.
func underlyingConn(conn net.Conn) net.Conn {
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return tls.NetConn()
	}
	return conn
}
