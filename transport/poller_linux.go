package transport

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Descriptors without a net.Conn, and the kernel's set of those that are watched: epoll(7). The kernel
// reports a socket once, and again only after it was rearmed.
//
// Waiting for the set needs no thread, because the set is itself a descriptor, which Go's own
// poller watches.

// events are the events of a parked socket: bytes, an end, an error. Each is reported once.
const events = syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT

// A poller is an epoll set. Its methods are safe for concurrent use, except wait, which one goroutine
// at a time may call. It must not be used after close.
type poller struct {
	fd    int
	file  *os.File // fd for Go's poller
	raw   syscall.RawConn
	found [128]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("transport: epoll: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("transport: epoll: %w", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if err := p.file.SetReadDeadline(time.Time{}); err != nil { // Go's poller did not accept it
		p.file.Close()
		return nil, fmt.Errorf("transport: epoll: %w", err)
	}
	p.raw, err = p.file.SyscallConn()
	return p, err
}

// close ends wait.
func (p *poller) close() { p.file.Close() }

func (p *poller) add(fd int, slot int32) error   { return p.control(syscall.EPOLL_CTL_ADD, fd, slot) }
func (p *poller) rearm(fd int, slot int32) error { return p.control(syscall.EPOLL_CTL_MOD, fd, slot) }
func (p *poller) remove(fd int)                  { p.control(syscall.EPOLL_CTL_DEL, fd, 0) }
func (p *poller) control(op, fd int, slot int32) error {
	return syscall.EpollCtl(p.fd, op, fd, &syscall.EpollEvent{Events: events, Fd: slot})
}

// wait appends the slots of sockets that have something to read. It returns an error when the poller
// is closed.
func (p *poller) wait(slots []int32) ([]int32, error) {
	var n int
	var failed error
	err := p.raw.Read(func(uintptr) bool {
		n, failed = syscall.EpollWait(p.fd, p.found[:], 0)
		return n > 0 || failed != nil && failed != syscall.EINTR
	})
	if err == nil {
		err = failed
	}
	for i := range max(n, 0) {
		slots = append(slots, p.found[i].Fd)
	}
	return slots, err
}

// canPark reports whether a connection is a plain TCP connection.
func canPark(conn net.Conn) bool {
	_, plain := conn.(plainConn)
	return plain
}

// dupDescriptor returns a new descriptor of the connection, which Go's runtime does not know.
func dupDescriptor(conn net.Conn) (fd int, err error) {
	raw, err := conn.(plainConn).SyscallConn()
	if err != nil {
		return -1, err
	}
	failed := raw.Control(func(old uintptr) {
		new, _, errno := syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		if fd = int(new); errno != 0 {
			err = errno
		}
	})
	if failed != nil {
		err = failed
	}
	return fd, err
}

// connFromDescriptor makes a connection of a descriptor. If this fails, it closes the descriptor. net.FileConn would
// duplicate the descriptor and ask the kernel for its kind and addresses, which is four more system calls.
func connFromDescriptor(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "socket")
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		file.Close()
		return nil, err
	}
	return &socketFile{file}, nil
}

// peerNetwork returns the network of the other end of a socket.
func peerNetwork(fd int) string {
	switch peer, _ := syscall.Getpeername(fd); peer := peer.(type) {
	case *syscall.SockaddrInet4:
		return network(netip.AddrFrom4(peer.Addr))
	case *syscall.SockaddrInet6:
		return network(netip.AddrFrom16(peer.Addr))
	}
	return ""
}

// readDescriptor reads what is available. again reports that nothing is.
func readDescriptor(fd int, p []byte) (n int, again bool) {
	n, err := syscall.Read(fd, p)
	return n, err == syscall.EAGAIN || err == syscall.EINTR
}

// writeDescriptor writes what the kernel takes at once, and gives how much that was. An
// error is met again by whoever writes the rest.
func writeDescriptor(fd int, p []byte) int {
	n, _ := syscall.Write(fd, p)
	return max(n, 0)
}

func closeDescriptor(fd int) { syscall.Close(fd) }

// A socketFile is the connection of a socket that was parked. It has no addresses: who asked
// for them has done so at the handshake.
type socketFile struct{ *os.File }

var _ plainConn = (*socketFile)(nil)

// LocalAddr and RemoteAddr give nil.
func (f *socketFile) LocalAddr() net.Addr { return nil }

// RemoteAddr gives nil.
func (f *socketFile) RemoteAddr() net.Addr { return nil }

func (f *socketFile) SetLinger(seconds int) error {
	return f.control(func(fd int) error {
		return syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1, Linger: int32(seconds)})
	})
}

func (f *socketFile) CloseWrite() error {
	return f.control(func(fd int) error { return syscall.Shutdown(fd, syscall.SHUT_WR) })
}

func (f *socketFile) control(do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if failed := raw.Control(func(fd uintptr) { err = do(int(fd)) }); failed != nil {
		return failed
	}
	return err
}
