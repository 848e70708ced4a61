package transport

import (
	"errors"
	"net/http"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// Plain HTTP to a room's OnRequest.

func (h *Handler) request(w *response, r *http.Request, key room.Key) {
	if bad := h.begin(); bad != nil {
		bad.send(w)
		return
	}
	defer h.end()
	r, bad := h.waitForShare(r, key)
	if bad != nil {
		bad.send(w)
		return
	}
	identity, bad := h.authenticate(r, key)
	var body body
	defer func() { h.unfinished.release(&body.held) }()
	if bad == nil {
		bad = h.body(w, r, &body)
	}
	if bad != nil {
		bad.send(w)
		return
	}
	if err := h.host.ServeRequest(r.Context(), key, identity, w, r); err != nil { // then nothing has been written
		refuse(err, http.StatusBadRequest).send(w)
	}
}

// body reads the request's body before the room gets the request, so that only the client waits if it
// sends slowly.
func (h *Handler) body(w *response, r *http.Request, b *body) *refusal {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	bad := h.readBody(w, r, b)
	if bad != nil {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // otherwise the server would first wait for the rest
		}
		return bad
	}
	r.Body, r.ContentLength = b, int64(b.left.Len())
	return nil
}

func (h *Handler) readBody(w *response, r *http.Request, b *body) *refusal {
	if r.ContentLength > h.opts.MaxBody {
		return bodyTooLarge()
	}
	control := http.NewResponseController(w)
	limited := control.SetReadDeadline(time.Now().Add(h.opts.ReadTimeout)) == nil
	if b.memory = h.unfinished; limited {
		b.held.owner = interrupter{control}
	}
	announced := uint64(h.opts.MaxBody)
	if r.ContentLength >= 0 {
		announced = uint64(r.ContentLength)
	}
	err := b.read(http.MaxBytesReader(w.ResponseWriter, r.Body, h.opts.MaxBody), announced)
	var large *http.MaxBytesError
	switch {
	case !b.memory.settle(&b.held) || errors.Is(err, errNoMemory):
		return &refusal{http.StatusServiceUnavailable, syncproto.CodeOverloaded, "The server has too much to do. Try again later."}
	case errors.As(err, &large):
		return bodyTooLarge()
	case err != nil:
		return &refusal{http.StatusBadRequest, syncproto.CodeBadMessage, "The request's body could not be read."}
	}
	if limited {
		control.SetReadDeadline(time.Time{})
	}
	return nil
}

func bodyTooLarge() *refusal {
	return &refusal{http.StatusRequestEntityTooLarge, syncproto.CodeTooLarge, "The request's body is too large."}
}
