package transport

import (
	"sync"
	"sync/atomic"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// The record of a WebSocket. The rest (reader, buffers, queue) is its active half, see active.go. A
// parked socket has none, see park.go.
//
//	state   becomes  when
//	active  parked   it is quiet for Options.ParkAfter
//	parked  active   the client sends more than a heartbeat or one short message, the socket is to
//	                 be closed, or the kernel does not accept what is to be sent
//	active  ended    the connection ends; a parked socket becomes active first
//
// The state changes only with mu held. Lock order: socket.mu, then link.mu. No lock of the room is
// taken while either is held.

// A socket is one client's WebSocket, and the hibernate.Link of its connection. A test makes sure that it
// has no more than 80 bytes, because a parked socket needs little else.
type socket struct {
	// Immutable.

	h *Handler

	// Safe from any goroutine.

	session atomic.Pointer[room.Session] // nil until the room has accepted
	heard   atomic.Int64                 // when the client last sent something

	// Protected by mu.

	mu     sync.Mutex
	active *active // nil while parked, and after the end
	pinged int64   // when the unanswered ping was sent, or bytes last left after it; 0 if there is none
	before flow    // what had left at that time
	mark   uint64  // the mark of what the room had sent before that ping
	number uint32  // of the last ping
	fd     int32   // the descriptor of a parked socket; -1 if it is not parked

	slow     bool // bytes have left after the ping
	receipt  bool // the room waits for a pong that covers an answer
	offering bool // serveParked passes a message of the parked socket to the room, and has the bytes after it

	// Protected by Handler.mu.

	slot int32 // its place in Handler.sockets
}

var _ hibernate.Link = (*socket)(nil)

// Send queues frames in order, or writes them at once if the socket is parked.
func (s *socket) Send(frames ...*hibernate.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(frames)
}

// send is Send with mu held.
func (s *socket) send(frames []*hibernate.Frame) {
	switch {
	case s.active != nil:
		s.active.link.Send(frames...)
	case s.fd >= 0:
		s.sendParked(frames)
	}
}

// Close queues a close frame after everything that waits. Only the first call has an effect.
func (s *socket) Close(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.awake(); a != nil {
		a.link.Close(code, reason)
	}
}

// Waiting returns the number of bytes that were sent and are not written yet.
func (s *socket) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil {
		return 0
	}
	return s.active.link.Waiting()
}

// Unread says that the client is not read until the returned function is called. If the client closes its connection meanwhile,
// the socket ends.
func (s *socket) Unread() (read func()) {
	s.mu.Lock()
	a := s.active
	s.mu.Unlock()
	if a == nil {
		return func() {}
	}
	return onHangUp(a.wire.Conn, hungUpWhileUnread, func() { a.link.abort(closeAbnormal, "") }).stop
}

// abort ends the socket without writing more.
func (s *socket) abort(code int, reason string) {
	s.mu.Lock()
	a := s.awake()
	s.mu.Unlock() // first, because abort tells the room
	if a != nil {
		a.link.abort(code, reason)
	}
}

// awake returns the active half, and first makes a parked socket active. It returns nil if the socket has
// ended. mu is held.
func (s *socket) awake() *active {
	if s.fd >= 0 {
		return s.unpark(nil, leftover{})
	}
	return s.active
}

// refuse tells a client over its socket why it may not stay.
func (s *socket) refuse(err error) {
	code, message := room.ErrorCode(err)
	s.Send(hibernate.TextFrame(len(message)+64, func(dst []byte) []byte {
		return syncproto.AppendRoomError(dst, code, message)
	}))
	s.Close(closeForSetup(code))
}

// leaveRoom tells the room that nothing can be sent to the socket any more, so that a waiting Receive
// ends. It is called when the link ends and when the reader ends, whichever comes first.
func (s *socket) leaveRoom(code int, reason string) {
	session := s.session.Load()
	if session == nil {
		return
	}
	if code == syncproto.CloseSlowConsumer {
		s.h.logSlowClient(session.Key())
	}
	session.Close(code, reason)
}

// room returns the room's key for logs.
func (s *socket) room() string {
	if session := s.session.Load(); session != nil {
		return session.Key().String()
	}
	return "(none yet)"
}
