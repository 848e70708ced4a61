package transport

import (
	"bytes"
	"errors"
	"io"
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
	identity, bad := h.authenticate(r, key)
	if bad == nil {
		bad = h.body(w, r)
	}
	if bad != nil {
		bad.send(w)
		return
	}
	if err := h.host.ServeRequest(r.Context(), key, identity, w, r); err != nil && !w.started {
		refuse(err, http.StatusBadRequest).send(w)
	}
}

// body reads the request's body before the room hears of it: a client that sends
// slowly keeps nobody but itself waiting.
func (h *Handler) body(w *response, r *http.Request) *refusal {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	data, bad := h.readBody(w, r)
	if bad != nil {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // or the server would wait for the rest first
		}
		return bad
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return nil
}

func (h *Handler) readBody(w *response, r *http.Request) ([]byte, *refusal) {
	if r.ContentLength > h.opts.MaxBody {
		return nil, bodyTooLarge()
	}
	control := http.NewResponseController(w)
	limited := control.SetReadDeadline(time.Now().Add(h.opts.ReadTimeout)) == nil
	data, err := io.ReadAll(http.MaxBytesReader(w.ResponseWriter, r.Body, h.opts.MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, bodyTooLarge()
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, syncproto.CodeBadMessage, "The request's body could not be read."}
	}
	if limited {
		control.SetReadDeadline(time.Time{})
	}
	return data, nil
}

func bodyTooLarge() *refusal {
	return &refusal{http.StatusRequestEntityTooLarge, syncproto.CodeTooLarge, "The request's body is too large."}
}
