package room

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"net"
	"net/http"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/syncproto"
)

// ServeRequest has a room's OnRequest answer a plain HTTP request, and writes the answer when what the hook wrote is
// durable. It reads the body to its end first: limit it with http.MaxBytesReader. An error is an *Error, and then
// nothing has been written. If ctx ends, ServeRequest returns, but the request may still be served: the hook's
// request has the values of r's context, and does not end with it.
func (h *Host) ServeRequest(ctx context.Context, key Key, id Identity, w http.ResponseWriter, r *http.Request) error {
	if err := h.node.check(key); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return bodyError(err)
	}
	r = r.Clone(context.WithValue(context.WithoutCancel(r.Context()), identityKey{}, id))
	r.Body = io.NopCloser(bytes.NewReader(body))
	value, err := h.node.request(ctx, key, &requestMessage{request: r, sender: h.node.sender(id, r), bodyBytes: len(body), share: guestOf(ctx)})
	if err != nil {
		code, message := ErrorCode(err)
		return &Error{Code: code, Message: message, cause: err}
	}
	value.(*response).writeTo(w)
	return nil
}

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &Error{Code: syncproto.CodeTooLarge, Message: "The request's body is too large.", cause: err}
	}
	return &Error{Code: syncproto.CodeBadMessage, Message: "The request's body could not be read.", cause: err}
}

// request serves a plain request as a hook.
func (l *life) request(t *turn, m *requestMessage) (*response, error) {
	w := &response{header: make(http.Header)}
	c := t.context(nil, m.request)
	commit, err := t.runHook(c, "OnRequest", func() error { return l.room.handler.OnRequest(c, w, m.request) })
	if err != nil {
		return nil, err
	}
	l.publisher.succeed(t, c, commit)
	t.share.Spend(int64(m.bodyBytes + w.body.Len()))
	return w, nil
}

// A response is an answer that is held until the gate opens.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if status < 200 || status > 999 {
		panic(fmt.Sprintf("room: WriteHeader(%d): not the status of an answer", status))
	}
	if w.status == 0 {
		w.status = status
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

func (w *response) writeTo(to http.ResponseWriter) {
	maps.Copy(to.Header(), w.header)
	if w.status == 0 {
		w.status = http.StatusOK
	}
	to.WriteHeader(w.status)
	to.Write(w.body.Bytes()) // a client that has gone gets nothing
}

// sender returns the sender of a plain request: a number that no connection has.
func (n *node) sender(id Identity, r *http.Request) uint64 {
	const plain = 1 << 63 // a connection's serial is lower
	if id.Subject != "" {
		return plain | maphash.String(n.process.hashes, id.Subject)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return plain | maphash.String(n.process.hashes, "\x00"+host)
}

// request sends a message to a room and waits for its answer. While the sender uses its whole share of the room's
// mailbox, request waits until ctx ends; a waiting message also counts for the node's memory.
func (n *node) request(ctx context.Context, key Key, m any) (any, error) {
	answer, err := n.actors.Request(ctx, key, m)
	if !errors.Is(err, actor.ErrOverloaded) {
		return answer, err
	}
	bytes := 0
	if sized, is := m.(actor.Sized); is {
		bytes = sized.Size()
	}
	if err := n.admitTo(n.limits.unqueued, bytes); err != nil {
		return nil, err
	}
	return n.actors.RequestWhenVacant(ctx, key, m, func() { n.limits.unqueued.Give(bytes) })
}
