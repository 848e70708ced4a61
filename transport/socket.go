package transport

import (
	"context"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// The life of a WebSocket and its receiving half.
//
// One goroutine reads for as long as the socket lives, and ends it: whoever wants
// a socket closed tells the link, the flusher writes the close frame and puts a
// deadline on the reader, and the reader gives everything back.

type socket struct {
	// Immutable from open on.

	h    *Handler
	key  room.Key
	ws   *websocket.Conn
	wire *wire
	link *link

	// Safe from any goroutine.

	session   atomic.Pointer[room.Session] // nil until the room has accepted
	busy      atomic.Bool                  // the reader waits for the room, so it cannot see a pong
	messageAt atomic.Int64                 // when the message that is being read began; 0: none is

	// Owned by keep-alive's timer; see keepalive.go.

	alive keepalive
}

// serve reads until the socket ends. It runs on a goroutine of its own, for the
// request's has a larger stack and buffers that would stay with it.
func (s *socket) serve() {
	defer s.h.leave(s)
	defer s.finish()
	defer func() {
		if v := recover(); v != nil {
			s.h.opts.Logger.Error("a socket's reader panicked", "room", s.key.String(), "panic", v, "stack", string(debug.Stack()))
			s.link.Close(syncproto.CloseInternal, string(syncproto.CodeActionFailed))
			s.drain()
		}
	}()
	s.alive.start(s)
	if err := s.read(); s.wire.err == nil && websocket.CloseStatus(err) < 0 {
		// The client broke the protocol. Where coder/websocket has said so already,
		// this changes nothing.
		s.link.Close(closeProtocol, "protocol_error")
		s.drain()
	}
}

// read passes messages on until the client has closed, the line is broken or the
// protocol is. Once the link is closing it still reads, for the client's answer.
func (s *socket) read() error {
	for {
		kind, r, err := s.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		if err := s.message(kind, r); err != nil {
			return err
		}
	}
}

func (s *socket) message(kind websocket.MessageType, r io.Reader) error {
	s.messageAt.Store(s.h.now())
	buf := messages.Get().(*[]byte)
	defer putMessage(buf)
	data, err := readAll(r, (*buf)[:0])
	*buf = data
	s.messageAt.Store(0)
	if err != nil {
		return err
	}
	if s.h.draining.Load() || s.link.closing() {
		return nil // not taken: what is not answered is the client's to send again
	}
	s.busy.Store(true)
	err = s.session.Load().Receive(data, kind == websocket.MessageBinary)
	s.wire.heard.Store(s.h.now()) // the client could not be heard meanwhile
	s.busy.Store(false)
	if err != nil {
		code, _ := room.ErrorCode(err)
		s.link.Close(closeForSession(code))
	}
	return nil
}

// finish gives everything back: it lets the last frames out, closes the
// connection and tells the room.
func (s *socket) finish() {
	s.alive.stop()
	if s.wire.err != nil {
		s.link.abort(closeAbnormal, "")
	} else {
		s.link.Close(syncproto.CloseNormal, "") // a socket that was closed by the client is closing already
	}
	<-s.link.done
	s.wire.Conn.Close()
	s.ws.CloseNow() // only its memory; the wire keeps it from the connection
	s.leaveRoom()
}

// leaveRoom tells the room that the socket is gone, or as good as: nothing can be
// sent to it, and a Receive that waits must end. The link's end and the reader's
// both call it, whichever comes first.
func (s *socket) leaveRoom() {
	if session := s.session.Load(); session != nil {
		session.Close(s.link.why())
	}
}

// linkEnded is called when nothing will be written any more.
func (s *socket) linkEnded() {
	s.wire.Conn.SetReadDeadline(time.Now().Add(closeTimeout))
	s.leaveRoom()
}

// drain waits until the client has seen the close frame: it ends our half of the
// connection and throws away what the client still sends, for a while. Closing with
// unread bytes would reset the connection and with it the frame.
func (s *socket) drain() {
	<-s.link.done
	if half, ok := s.wire.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	s.wire.Conn.SetReadDeadline(time.Now().Add(closeTimeout))
	_, s.wire.err = io.Copy(io.Discard, onlyReader{s.wire.Conn})
}

// onlyReader hides a connection's WriteTo.
type onlyReader struct{ io.Reader }

// messages are the buffers that messages are read into.
var messages = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func putMessage(buf *[]byte) {
	if cap(*buf) <= 64<<10 {
		messages.Put(buf)
	}
}

// readAll appends what r has to buf. It grows with what has come, not with what
// was announced.
func readAll(r io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

var _ net.Conn = (*wire)(nil)
