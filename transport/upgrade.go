package transport

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// From a request to a socket in a room. Until the handshake is accepted a refusal
// is an HTTP status; after it, a frame and a close.

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
	s := &socket{h: h, key: key}
	defer func() {
		if s.wire == nil {
			h.turnAway()
		}
	}()
	identity, bad := h.authenticate(r)
	if bad != nil {
		bad.send(w)
		return
	}
	if bad := s.accept(w, r); bad != nil {
		bad.send(w)
		return
	}
	h.enter(s, room.ConnectRequest{
		ID:       id,
		Identity: identity,
		Request:  lasting(r),
		Link:     s.link,
	})
}

// accept makes the handshake. Where it gives a refusal nothing has been taken over.
func (s *socket) accept(w *response, r *http.Request) *refusal {
	shake := &handshaker{ResponseWriter: w, opened: s.opened}
	ws, err := websocket.Accept(shake, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // origin.go has checked it
		CompressionMode:    websocket.CompressionDisabled,
		OnPongReceived:     func(_ context.Context, payload []byte) { s.alive.pong(payload) },
	})
	switch {
	case err == nil:
		s.ws = ws
		ws.SetReadLimit(s.h.opts.ReadLimit)
		return nil
	case shake.status != 0 && !w.started:
		return &refusal{shake.status, codeBadHandshake, "This is no WebSocket handshake of version 13."}
	default: // 101 has been sent, and the connection could not be taken
		s.h.opts.Logger.Error("a handshake failed", "room", s.key.String(), "error", err)
		panic(http.ErrAbortHandler)
	}
}

// opened is called when the connection has been taken over.
func (s *socket) opened(conn net.Conn) *wire {
	s.link = newLink(conn, &s.h.opts, s.linkEnded)
	s.wire = &wire{Conn: conn, link: s.link, now: s.h.now}
	s.h.join(s)
	return s.wire
}

// enter brings a socket into its room and starts its reader, also where the room
// refuses: the client is told on the socket, and its answer has to be read.
func (h *Handler) enter(s *socket, req room.ConnectRequest) {
	defer func() {
		if v := recover(); v != nil {
			s.refuse(&room.Error{Code: syncproto.CodeRoomUnavailable, Message: "The room is not available."})
			go s.serve() // ends when the socket does
			panic(v)
		}
	}()
	ctx, cancel := context.WithTimeout(req.Request.Context(), h.opts.SetupTimeout)
	defer cancel()
	session, err := h.host.Connect(ctx, s.key, req)
	if err != nil {
		s.refuse(err)
	} else {
		s.session.Store(session)
	}
	go s.serve() // ends when the socket does
}

// refuse tells a client over its socket why it may not stay.
func (s *socket) refuse(err error) {
	code, message := room.ErrorCode(err)
	s.link.Send(hibernate.TextFrame(len(message)+64, func(dst []byte) []byte {
		return syncproto.AppendRoomError(dst, code, message)
	}))
	s.link.Close(closeForSetup(code))
}

// closeForSetup says how a socket ends whose room did not let it in: with 4500 when
// the room decided so, and with a code that asks the client to come back when
// the room could not.
func closeForSetup(code syncproto.Code) (int, string) {
	switch {
	case code == syncproto.CodeShuttingDown, code == syncproto.CodeOverloaded:
		return closeForSession(code)
	case code == syncproto.CodeActionFailed, code.Retryable():
		return syncproto.CloseInternal, string(code)
	}
	return syncproto.CloseRefused, string(code)
}

// closeForSession says how a socket ends whose session is over.
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

// lasting is the request as a room may keep it: without the body, and with a
// context that does not end with the handshake.
func lasting(r *http.Request) *http.Request {
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
