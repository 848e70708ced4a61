package transport

import (
	"sync"
	"sync/atomic"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// What is always there of a WebSocket: the record. All else (reader, buffers, queue) is
// its active half, see active.go, and a parked socket has none, see park.go.
//
//	active ──quiet──▶ parked ──first byte that is more than a heart-beat,
//	   ▲                │       a close, what the kernel does not take──▶ active
//	   └────────────────┘
//	active ──▶ ended; a parked socket becomes active to end
//
// mu decides which it is: who holds it may send, park or bring back, and there is no
// moment in between that anybody could see. Lock order: socket.mu, then link.mu; never
// with either a lock of the room's.

// A socket is one client's WebSocket, and the hibernate.Link of its connection. It is
// small (80 bytes; a test holds it there), for it is what a quiet socket costs here.
type socket struct {
	// Immutable.

	h *Handler

	// Safe from any goroutine.

	session atomic.Pointer[room.Session] // nil until the room has accepted
	heard   atomic.Int64                 // when the client last sent something

	// Protected by mu.

	mu     sync.Mutex
	active *active // nil while parked, and when it has ended
	pinged int64   // when the ping was sent that is not answered, or bytes left after it; 0: none is
	before flow    // what had left then
	mark   uint64  // what of the room's had left before that ping
	number uint32  // of the last ping
	fd     int32   // the descriptor of a parked socket, which is ours alone; -1 if it is not parked

	slow     bool // bytes have left after the ping
	receipt  bool // the room waits for a pong that covers an answer
	offering bool // attend hands a message of the parked socket to the room, and has what follows it

	// Protected by Handler.mu.

	slot int32 // its place in Handler.sockets
}

var _ hibernate.Link = (*socket)(nil)

// Send queues frames in order, or writes them at once where the socket is parked.
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

// Close queues a close frame behind everything that waits. The first one counts.
func (s *socket) Close(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.awake(); a != nil {
		a.link.Close(code, reason)
	}
}

// Waiting is how many bytes were sent and are not written yet.
func (s *socket) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil {
		return 0
	}
	return s.active.link.Waiting()
}

// Unread says that the client is not read until the returned function is called. If it hangs up meanwhile, the socket ends.
func (s *socket) Unread() (read func()) {
	s.mu.Lock()
	a := s.active
	s.mu.Unlock()
	if a == nil {
		return func() {}
	}
	return whenHungUp(a.wire.Conn, hungUpWhileUnread, func() { a.link.abort(closeAbnormal, "") }).stop
}

// abort ends the socket with nothing more written.
func (s *socket) abort(code int, reason string) {
	s.mu.Lock()
	a := s.awake()
	s.mu.Unlock() // the link's end tells the room
	if a != nil {
		a.link.abort(code, reason)
	}
}

// awake is the active half, brought back if the socket is parked; nil if it has
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

// leaveRoom tells the room that the socket is gone, or as good as: nothing can be
// sent to it, and a Receive that waits must end. The link's end and the reader's
// both call it, whichever comes first.
func (s *socket) leaveRoom(code int, reason string) {
	session := s.session.Load()
	if session == nil {
		return
	}
	if code == syncproto.CloseSlowConsumer {
		s.h.tellSlow(session.Key())
	}
	session.Close(code, reason)
}

// room is for logs.
func (s *socket) room() string {
	if session := s.session.Load(); session != nil {
		return session.Key().String()
	}
	return "(none yet)"
}
