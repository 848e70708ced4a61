//go:build unix

package transport

import (
	"net"
	"syscall"
)

// attempt writes what a TCP socket accepts at once, and never waits. It returns the number of
// bytes written, which is 0 for other kinds of connections, such as TLS.
func attempt(conn net.Conn, data []byte) (n int) {
	plain, ok := conn.(plainConn)
	if !ok {
		return 0
	}
	raw, err := plain.SyscallConn()
	if err != nil {
		return 0
	}
	raw.Write(func(fd uintptr) bool { // the flusher, which writes the rest, gets the same error
		n, _ = syscall.Write(int(fd), data)
		return true // do not wait
	})
	return max(n, 0)
}
