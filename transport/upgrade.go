package transport

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// From a request to a socket in a room. Before the handshake is accepted, a refusal
// is an HTTP status. Afterwards it is a frame and a close.

func (h *Handler) upgrade(w *response, r *http.Request, key room.Key) {
	id, bad := connectionID(r.URL)
	if bad == nil && !canHijack(w) {
		bad = cannotUpgrade(r)
	}
	if bad == nil {
		bad = h.admit()
	}
	if bad != nil {
		bad.send(w)
		return
	}
	a := &active{s: &socket{h: h, fd: -1}, address: h.opts.addressOf(r)}
	defer func() {
		if a.wire == nil {
			h.releasePlace()
		}
	}()
	r, bad = h.waitForShare(r, key)
	if bad != nil {
		bad.send(w)
		return
	}
	identity, bad := h.authenticate(r, key)
	if bad != nil {
		bad.send(w)
		return
	}
	if bad := a.upgrade(w, r, key); bad != nil {
		bad.send(w)
		return
	}
	h.enter(a, key, room.ConnectRequest{
		Stock:    true,
		ID:       id,
		Identity: identity,
		Request:  detached(r),
		Link:     a.s,
	})
	go a.serve() // ends when the socket is parked or ends
}

// upgrade does the handshake. If it returns a refusal, the connection was not taken over.
func (a *active) upgrade(w *response, r *http.Request, key room.Key) *refusal {
	hands := &handshaker{ResponseWriter: w, opened: func(conn net.Conn, early []byte) {
		limitUnsent(conn)
		a.take(conn, early)
		a.s.h.join(a)
	}}
	err := acceptHandshake(hands, r)
	switch {
	case err == nil:
		return nil
	case hands.status != 0 && !w.started:
		return &refusal{hands.status, codeBadHandshake, "This is no WebSocket handshake of version 13."}
	default: // 101 has been sent, and the connection could not be taken
		a.s.h.opts.Logger.Error("a handshake failed", "room", key.String(), "error", err)
		panic(http.ErrAbortHandler)
	}
}

// enter connects a socket to its room. If the room refuses, the client is told on the socket, and its answer must
// be read. If the client closes its connection meanwhile, enter stops waiting and needs no place in the room's mailbox.
func (h *Handler) enter(a *active, key room.Key, req room.ConnectRequest) {
	s := a.s
	defer func() {
		if v := recover(); v != nil {
			h.opts.panicked("connecting to a room panicked", key.String(), v)
			s.refuse(&room.Error{Code: syncproto.CodeRoomUnavailable, Message: "The room is not available."})
		}
	}()
	ctx, cancel := context.WithTimeout(req.Request.Context(), h.opts.SetupTimeout)
	defer cancel()
	defer onHangUp(a.wire.Conn, hungUpWhileConnecting, cancel).stop()
	session, err := h.host.Connect(ctx, key, req)
	if err != nil {
		s.refuse(err)
		return
	}
	s.session.Store(session)
}

// How often a connection that nobody reads is checked for a close by the client: while its room accepts it, and while its next
// message waits for a place in the mailbox. In the second case what the client has sent is dropped, so the interval is longer.
const (
	hungUpWhileConnecting = 250 * time.Millisecond
	hungUpWhileUnread     = time.Second
)

// A hangUpTimer checks whether the other side of a connection has closed it.
type hangUpTimer struct {
	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

// onHangUp calls f once the other side of a connection has closed it. It checks at the interval every, without reading, if the system
// allows that.
func onHangUp(conn net.Conn, every time.Duration, f func()) *hangUpTimer {
	l := new(hangUpTimer)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(every, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case l.over:
		case hungUp(conn):
			f()
		default:
			l.timer.Reset(every)
		}
	})
	return l
}

// stop ends the checks.
func (l *hangUpTimer) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.timer.Stop()
}

// closeForSetup returns the code and reason for a socket that its room did not accept: 4500 if
// the room refused it, and a code that asks the client to come back if the room was not able
// to accept it.
func closeForSetup(code syncproto.Code) (int, string) {
	switch {
	case code == syncproto.CodeShuttingDown, code == syncproto.CodeOverloaded:
		return closeForSession(code)
	case code == syncproto.CodeActionFailed, code.Retryable():
		return syncproto.CloseInternal, string(code)
	}
	return syncproto.CloseRefused, string(code)
}

// closeForSession returns the code and reason for a socket whose session is over.
func closeForSession(code syncproto.Code) (int, string) {
	switch code {
	case syncproto.CodeShuttingDown:
		return syncproto.CloseGoingAway, shutdownReason
	case syncproto.CodeOverloaded:
		return syncproto.CloseOverloaded, string(code)
	case syncproto.CodeUnauthorized:
		return syncproto.CloseUnauthorized, string(code)
	}
	return syncproto.CloseInternal, string(code)
}

const shutdownReason = "server is shutting down"

// detached returns the request as a room may keep it: without the body, and with a
// context that does not end with the handshake.
func detached(r *http.Request) *http.Request {
	kept := r.WithContext(context.WithoutCancel(r.Context()))
	kept.Body = http.NoBody
	return kept
}

func cannotUpgrade(r *http.Request) *refusal {
	if r.ProtoMajor >= 2 {
		return &refusal{http.StatusHTTPVersionNotSupported, codeBadHandshake, "WebSockets are served over HTTP/1.1 only."}
	}
	return &refusal{http.StatusNotImplemented, codeBadHandshake, "This server cannot take the connection over."}
}
