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

// The active half of a WebSocket: what a socket has while it is not parked. This file is
// its receiving part.
//
// One goroutine reads until the socket is parked or ends. To close a socket, call Close of its
// link: the flusher writes the close frame and sets a deadline for the reader, and the reader
// then releases everything.

// An active is the active half of one socket.
type active struct {
	// Immutable when the reader runs.

	s    *socket
	wire *wire
	link *link
	in   *reader

	address string // the client's address (addressOf); after the socket was parked, the other end of its connection

	// Safe from any goroutine.

	busy      atomic.Bool  // the reader waits for the room, so it cannot see a pong
	messageAt atomic.Int64 // when the message that is being read began; 0 if none is being read
}

// take sets the connection of the active half. early was already read from it.
func (a *active) take(conn net.Conn, early []byte) {
	a.link = newLink(conn, &a.s.h.opts, a.linkEnded)
	a.wire = &wire{Conn: conn, active: a, early: early, parks: a.s.h.opts.ParkAfter >= 0 && canPark(conn)}
	a.in = &reader{source: a.wire.take, control: a.control, began: a.began, moreFrames: func() { a.extra(0) }, limit: uint64(a.s.h.opts.ReadLimit), memory: a.s.h.unfinished, held: held{owner: a}}
}

// serve reads until the socket is parked or ends. It runs on a goroutine of its own, because
// the request's goroutine has a larger stack and keeps net/http's buffers.
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

// read reads messages until the socket is parked or the reader fails. If the client violated the
// protocol, it closes the link with the violation's code.
func (a *active) read() (parked bool) {
	defer func() {
		if v := recover(); v != nil {
			a.s.h.opts.panicked("a socket's reader panicked", a.s.room(), v)
			a.link.Close(syncproto.CloseInternal, string(syncproto.CodeActionFailed))
			a.drain()
		}
	}()
	if a.busy.Swap(false) { // the socket is new, and nobody read before
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

// next reads one message and passes it to the room. While the link is closing it still reads,
// because the client's answer to the close is to come, and drops messages. The error is the reader's.
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
		return nil // dropped: the client sends again what is not answered
	}
	session := a.s.session.Load()
	if answer := session.AutoAnswer(m.data, m.binary); answer != nil && !m.over {
		a.link.sendUrgent(answer.Wire())
		a.pace(session, m.size)
		return nil
	}
	a.busy.Store(true)
	if m.over {
		err = session.Oversized(m.data, m.binary, h.opts.ReadLimit)
	} else {
		err = a.receive(session, m)
	}
	a.s.heard.Store(h.now()) // nobody read meanwhile
	a.busy.Store(false)
	if err != nil {
		code, _ := room.ErrorCode(err)
		a.link.Close(closeForSession(code))
		return nil
	}
	a.pace(session, m.size)
	return nil
}

// pace waits, if the node is congested, until the client may send its next message.
func (a *active) pace(session *room.Session, size uint64) {
	if !session.Paced(int(min(size, math.MaxInt32))) {
		return
	}
	a.busy.Store(true)
	defer a.busy.Store(false)
	session.Pace()
	a.s.heard.Store(a.s.h.now()) // nobody read meanwhile
}

// receive passes a message to the room, whose mailbox counts its memory. While the message waits for a place
// in the mailbox, unfinished counts it.
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

// evict ends the socket because its message needs too much memory. The reader releases the message at once.
func (a *active) evict() {
	defer func() {
		if v := recover(); v != nil { // the connection may be a program's own
			a.s.h.opts.panicked("ending a socket panicked", a.s.room(), v)
		}
	}()
	a.link.Close(syncproto.CloseOverloaded, string(syncproto.CodeOverloaded))
	a.wire.cut()
}

// began notes when a message began to arrive, for ReadTimeout.
func (a *active) began(begins bool) {
	var at int64
	if begins {
		at = a.s.h.now()
	}
	a.messageAt.Store(at)
}

// control handles a control frame of the client.
func (a *active) control(op byte, payload []byte) error {
	switch op {
	case opPing:
		a.link.sendUrgent(pongFrame(payload))
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

// extra counts a control frame, or framesPerMessage frames of an unfinished message, as one message.
func (a *active) extra(size uint64) {
	if session := a.s.session.Load(); session != nil {
		a.pace(session, size)
	}
}

// finish releases everything: it waits until the last frames are written, closes the connection
// and tells the room.
func (a *active) finish() {
	if a.wire.err != nil { // otherwise a close frame is the last of the queue
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

// settleShare passes what the client owes to its address: new clients from there wait for it.
func (a *active) settleShare() {
	if session := a.s.session.Load(); session != nil {
		a.s.h.host.Shares().Leave(session.Share(), a.address)
	}
}

// linkEnded is called after the last write.
func (a *active) linkEnded() {
	a.wire.bound(closeTimeout)
	a.s.leaveRoom(a.link.why())
}

// drain waits until the client has received the close frame. It closes the server's half of the
// connection and discards what the client still sends, for up to closeTimeout. Closing the
// connection with unread bytes would reset it, and the close frame would be lost.
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
	a.wire.clearCut()
	a.wire.bound(closeTimeout)
	_, a.wire.err = io.Copy(io.Discard, onlyReader{a.wire.Conn})
}

// onlyReader hides a connection's WriteTo.
type onlyReader struct{ io.Reader }
