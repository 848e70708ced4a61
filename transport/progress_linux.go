package transport

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// acknowledged tells how many bytes of a TCP socket's the other side has acknowledged, and how
// many were written that it has not; not ok where the kernel does not say.
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

// hungUp reports whether the other side of a connection has ended it, though there may be something to be read.
func hungUp(conn net.Conn) (is bool) {
	onDescriptor(conn, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		is = err == nil && info.State != unix.BPF_TCP_ESTABLISHED
	})
	return is
}

// limitUnsent makes the kernel take no more for a connection than it can send, and unsentBytes. The
// descriptor keeps that when the socket is parked.
func limitUnsent(conn net.Conn) {
	onDescriptor(conn, func(fd int) {
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes) // what is no TCP has no such buffer
	})
}

// onDescriptor calls do with the descriptor of a connection, if it has one.
func onDescriptor(conn net.Conn, do func(fd int)) {
	c, ok := beneath(conn).(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { do(int(fd)) })
	}
}
