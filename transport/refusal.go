package transport

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// Refusals over HTTP: a status, a code for programs, a message for people.

// codeBadHandshake says that a request asked for a WebSocket in a way that cannot be served.
const codeBadHandshake syncproto.Code = "bad_handshake"

// A refusal is an answer that does not come from the room.
type refusal struct {
	status  int
	code    syncproto.Code
	message string
}

// send writes the refusal. Nothing else has written to w.
func (f *refusal) send(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	body := append(syncproto.AppendRoomError(nil, f.code, f.message), '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if f.code.Retryable() {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(f.status)
	w.Write(body) // an error means that the client is gone
}

// refuse returns the refusal for an error of the room. unknown is the status for codes that are the
// room's own.
func refuse(err error, unknown int) *refusal {
	code, message := room.ErrorCode(err)
	status := unknown
	if slices.Contains(syncproto.Codes(), code) {
		status = code.HTTPStatus()
	}
	return &refusal{status: status, code: code, message: message}
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	(&refusal{http.StatusNotFound, syncproto.CodeNotFound, "There is nothing here."}).send(w)
}

func shuttingDown() *refusal {
	return &refusal{http.StatusServiceUnavailable, syncproto.CodeShuttingDown, "The server is shutting down."}
}
