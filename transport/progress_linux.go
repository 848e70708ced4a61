package transport

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// acknowledged returns the number of bytes that the other side of a TCP socket has acknowledged, and the
// number of written bytes that it has not. ok is false if the kernel does not know.
func acknowledged(fd int) (bytes, rest uint64, ok bool) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0, false
	}
	written := info.Bytes_sent - info.Bytes_retrans + uint64(info.Notsent_bytes)
	return info.Bytes_acked, max(written, info.Bytes_acked) - info.Bytes_acked, true
}

// acknowledgedOn is acknowledged for a connection, with or without TLS.
func acknowledgedOn(conn net.Conn) (bytes, rest uint64, ok bool) {
	onDescriptor(conn, func(fd int) { bytes, rest, ok = acknowledged(fd) })
	return bytes, rest, ok
}

// hungUp reports whether the other side has closed a connection, even if there is still something to read.
func hungUp(conn net.Conn) (is bool) {
	onDescriptor(conn, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		is = err == nil && info.State != unix.BPF_TCP_ESTABLISHED
	})
	return is
}

// limitUnsent makes the kernel accept no more for a connection than what it can send and unsentBytes. The
// setting stays with the descriptor when the socket is parked.
func limitUnsent(conn net.Conn) {
	onDescriptor(conn, func(fd int) {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes) // fails for what is not TCP, which has no such buffer
	})
}

// onDescriptor calls do with the descriptor of a connection, if it has one.
func onDescriptor(conn net.Conn, do func(fd int)) {
	c, ok := underlyingConn(conn).(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { do(int(fd)) })
	}
}
