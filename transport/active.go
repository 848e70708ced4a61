package transport

import (
	"errors"
	"io"
	"math"
	"net"
	"sync/atomic"

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
	wire *wire
	link *link
	in   *reader

	address string // from where the client comes; after it was parked, the other end of its connection

	// Safe from any goroutine.

	busy      atomic.Bool  // the reader waits for the room, so it cannot see a pong
	messageAt atomic.Int64 // when the message that is being read began; 0: none is
}

// take gives the active half its connection. early was read of it before.
func (a *active) take(conn net.Conn, early []byte) {
	a.link = newLink(conn, &a.s.h.opts, a.linkEnded)
	a.wire = &wire{Conn: conn, active: a, early: early, parks: a.s.h.opts.ParkAfter >= 0 && canPark(conn)}
	a.in = &reader{source: a.wire.take, control: a.control, began: a.began, goesOn: func() { a.extra(0) }, limit: uint64(a.s.h.opts.ReadLimit), memory: a.s.h.unfinished, held: held{owner: a}}
}

// serve reads until the socket is parked or ends. It runs on a goroutine of its own, for
// the request's has a larger stack and buffers that would stay with it.
func (a *active) serve() {
	if parked := a.read(); parked {
		return
	}
	defer a.s.h.leave(a.s)
	defer func() {
		if v := recover(); v != nil { // the connection may be a program's own
			a.s.h.opts.panicked("ending a socket panicked", a.s.room(), v)
		}
	}()
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
	var err error
	for err == nil {
		err = a.next()
	}
	if errors.Is(err, errParked) {
		return true
	}
	if broken, is := errors.AsType[*violation](err); is {
		a.link.Close(broken.code, broken.reason)
		a.drain()
	} else if a.wire.isCut() {
		a.drain()
	}
	return false
}

// next passes a message on. Once the link is closing it still reads, for the client's
// answer. It fails as the reader does.
func (a *active) next() error {
	h := a.s.h
	buf := messages.Get().(*[]byte)
	defer messages.Put(buf)
	defer a.in.release()
	m, err := a.in.next((*buf)[:0])
	if err != nil {
		return err
	}
	if h.draining.Load() || a.link.closing() {
		return nil // not taken: what is not answered is the client's to send again
	}
	session := a.s.session.Load()
	if answer := session.AutoAnswer(m.data, m.binary); answer != nil && !m.over {
		a.link.hasten(answer.Wire())
		a.pace(session, m.size)
		return nil
	}
	a.busy.Store(true)
	if m.over {
		err = session.Oversized(m.data, m.binary, h.opts.ReadLimit)
	} else {
		err = a.receive(session, m)
	}
	a.s.heard.Store(h.now()) // the client could not be heard meanwhile
	a.busy.Store(false)
	if err != nil {
		code, _ := room.ErrorCode(err)
		a.link.Close(closeForSession(code))
		return nil
	}
	a.pace(session, m.size)
	return nil
}

// pace has a client whose messages the node cannot keep up with wait for its turn.
func (a *active) pace(session *room.Session, size uint64) {
	if !session.Paced(int(min(size, math.MaxInt32))) {
		return
	}
	a.busy.Store(true)
	defer a.busy.Store(false)
	session.Pace()
	a.s.heard.Store(a.s.h.now()) // the client could not be heard meanwhile
}

// receive hands a message to the room, whose mailbox counts it. Where it has to wait for a place there, what is
// kept of it here counts until then.
func (a *active) receive(session *room.Session, m message) error {
	if a.in.larger == nil {
		return session.Receive(m.data, m.binary)
	}
	a.in.memory.release(&a.in.held)
	if session.Offer(m.data, m.binary) {
		return nil
	}
	if a.in.keep() != nil {
		return &room.Error{Code: syncproto.CodeOverloaded, Message: "The server has too much to do. Try again later."}
	}
	return session.Receive(m.data, m.binary)
}

// evict ends the socket because its message takes too much memory: the reader lets go of it at once.
func (a *active) evict() {
	defer func() {
		if v := recover(); v != nil { // the connection may be a program's own
			a.s.h.opts.panicked("ending a socket panicked", a.s.room(), v)
		}
	}()
	a.link.Close(syncproto.CloseOverloaded, string(syncproto.CodeOverloaded))
	a.wire.cut()
}

// began notes when a message began to come, for ReadTimeout.
func (a *active) began(begins bool) {
	var at int64
	if begins {
		at = a.s.h.now()
	}
	a.messageAt.Store(at)
}

// control takes a control frame of the client's.
func (a *active) control(op byte, payload []byte) error {
	switch op {
	case opPing:
		a.link.hasten(pongFrame(payload))
	case opPong:
		a.s.pong(payload)
	case opClose:
		code, reason, err := parseClose(payload)
		if err != nil {
			return err
		}
		a.link.Close(code, reason)
		return errClosed
	}
	a.extra(uint64(len(payload)))
	return nil
}

// extra counts bytes that came beside the messages, or in a message that goes on, as a message.
func (a *active) extra(size uint64) {
	if session := a.s.session.Load(); session != nil {
		a.pace(session, size)
	}
}

// finish gives everything back: it lets the last frames out, closes the
// connection and tells the room.
func (a *active) finish() {
	if a.wire.err != nil { // else a close frame is the last of the queue
		a.link.abort(closeAbnormal, "")
	}
	<-a.link.done
	defer func() {
		a.s.leaveRoom(a.link.why())
		a.settleShare()
		a.s.mu.Lock()
		defer a.s.mu.Unlock()
		a.s.active = nil
	}()
	a.wire.Conn.Close()
}

// settleShare has what the client owes paid by those who come from the same address.
func (a *active) settleShare() {
	if session := a.s.session.Load(); session != nil {
		a.s.h.host.Shares().Leave(session.Share(), a.address)
	}
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
	defer func() {
		if v := recover(); v != nil { // the connection may be a program's own
			a.s.h.opts.panicked("ending a socket panicked", a.s.room(), v)
			a.wire.err = errPanicked
		}
	}()
	if half, ok := a.wire.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	a.wire.mend()
	a.wire.bound(closeTimeout)
	_, a.wire.err = io.Copy(io.Discard, onlyReader{a.wire.Conn})
}

// onlyReader hides a connection's WriteTo.
type onlyReader struct{ io.Reader }
