//go:build unix

package transport

import (
	"net"
	"syscall"
)

// attempt writes what a TCP socket takes at once, and never waits. It gives how many
// bytes that were; none where the connection is of another kind (TLS, say).
func attempt(conn net.Conn, data []byte) (n int) {
	plain, ok := conn.(plainConn)
	if !ok {
		return 0
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Write(func(fd uintptr) bool { // an error is met again by whoever writes the rest
		n, _ = syscall.Write(int(fd), data)
		return true // done, however much it was
	})
	return max(n, 0)
}
