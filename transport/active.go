package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// The active half of a WebSocket: what it has while messages come, or its queue is
// not empty. Here is its receiving part.
//
// One goroutine reads until the socket is parked or ends, and ends it: whoever wants
// a socket closed tells the link, the flusher writes the close frame and puts a
// deadline on the reader, and the reader gives everything back.

type active struct {
	// Immutable when the reader runs.

	s    *socket
	ws   *websocket.Conn
	wire *wire
	link *link

	// Safe from any goroutine.

	busy      atomic.Bool  // the reader waits for the room, so it cannot see a pong
	messageAt atomic.Int64 // when the message that is being read began; 0: none is
}

// take gives the active half its connection. early was read of it before.
func (a *active) take(conn net.Conn, early []byte) {
	a.link = newLink(conn, &a.s.h.opts, a.linkEnded)
	a.wire = &wire{Conn: conn, active: a, early: early, parks: a.s.h.opts.ParkAfter >= 0 && canPark(conn)}
}

// accept makes the handshake, with a client or, where the socket was parked, for
// coder/websocket alone.
func (a *active) accept(w http.ResponseWriter, r *http.Request) error {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // origin.go has checked it
		CompressionMode:    websocket.CompressionDisabled,
		OnPongReceived:     func(_ context.Context, payload []byte) { a.s.pong(payload) },
	})
	if err != nil {
		return err
	}
	a.ws = ws
	ws.SetReadLimit(a.s.h.opts.ReadLimit)
	return nil
}

// serve reads until the socket is parked or ends. It runs on a goroutine of its own, for
// the request's has a larger stack and buffers that would stay with it.
func (a *active) serve() {
	if parked := a.read(); parked {
		a.ws.CloseNow() // only its memory; the wire's connection is closed
		return
	}
	defer a.s.h.leave(a.s)
	a.finish()
}

// read is the reader, with what happens where it fails.
func (a *active) read() (parked bool) {
	defer func() {
		if v := recover(); v != nil {
			a.s.h.opts.panicked("a socket's reader panicked", a.s.room(), v)
			a.link.Close(syncproto.CloseInternal, string(syncproto.CodeActionFailed))
			a.drain()
		}
	}()
	if a.busy.Swap(false) { // it has just come, and nobody listened before
		a.s.heard.Store(a.s.h.now())
	}
	err := a.reopen()
	for err == nil {
		err = a.next()
	}
	if errors.Is(err, errParked) {
		return true
	}
	if a.wire.err == nil && websocket.CloseStatus(err) < 0 {
		// The client broke the protocol. Where coder/websocket has said so already,
		// this changes nothing.
		a.link.Close(closeProtocol, "protocol_error")
		a.drain()
	}
	return false
}

// reopen makes the coder/websocket of a socket that comes back.
func (a *active) reopen() error {
	if a.ws != nil {
		return nil
	}
	return a.accept(&muted{wire: a.wire}, a.s.h.canned)
}

// next passes a message on. Once the link is closing it still reads, for the client's
// answer. It fails when the client has closed, the line is broken or the protocol is,
// and with errParked.
func (a *active) next() error {
	kind, r, err := a.ws.Reader(context.Background())
	if err != nil {
		return err
	}
	h := a.s.h
	a.messageAt.Store(h.now())
	buf := messages.Get().(*[]byte)
	defer putMessage(buf)
	data, err := readAll(r, (*buf)[:0])
	*buf = data
	a.messageAt.Store(0)
	if err != nil {
		return err
	}
	if h.draining.Load() || a.link.closing() {
		return nil // not taken: what is not answered is the client's to send again
	}
	session := a.s.session.Load()
	if answer := session.AutoAnswer(data, kind == websocket.MessageBinary); answer != nil {
		a.link.hasten(answer.Wire())
		return nil
	}
	a.busy.Store(true)
	err = session.Receive(data, kind == websocket.MessageBinary)
	a.s.heard.Store(h.now()) // the client could not be heard meanwhile
	a.busy.Store(false)
	if err != nil {
		code, _ := room.ErrorCode(err)
		a.link.Close(closeForSession(code))
	}
	return nil
}

// finish gives everything back: it lets the last frames out, closes the
// connection and tells the room.
func (a *active) finish() {
	if a.wire.err != nil {
		a.link.abort(closeAbnormal, "")
	} else {
		a.link.Close(syncproto.CloseNormal, "") // a socket that was closed by the client is closing already
	}
	<-a.link.done
	a.wire.Conn.Close()
	if a.ws != nil {
		a.ws.CloseNow() // only its memory; the wire keeps it from the connection
	}
	a.s.leaveRoom(a.link.why())
	a.s.mu.Lock()
	a.s.active = nil
	a.s.mu.Unlock()
}

// linkEnded is called when nothing will be written any more.
func (a *active) linkEnded() {
	a.wire.bound(closeTimeout)
	a.s.leaveRoom(a.link.why())
}

// drain waits until the client has seen the close frame: it ends our half of the
// connection and throws away what the client still sends, for a while. Closing with
// unread bytes would reset the connection and with it the frame.
func (a *active) drain() {
	<-a.link.done
	if half, ok := a.wire.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	a.wire.bound(closeTimeout)
	_, a.wire.err = io.Copy(io.Discard, onlyReader{a.wire.Conn})
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
