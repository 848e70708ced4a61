package transport

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
)

// How coder/websocket is given a connection that stays ours. Its Accept asks the
// ResponseWriter for the connection (http.Hijacker) and keeps what it gets; it is
// given a wire, which lets it read, queues what it writes, and leaves closing to
// the socket.

const (
	readBuffer  = 1 << 10 // most actions come with one read
	writeBuffer = 256     // a control frame whole: 127 bytes at most
)

// A handshaker is the ResponseWriter for websocket.Accept. It passes a success
// on and keeps a refusal to itself, for we answer with JSON.
type handshaker struct {
	http.ResponseWriter
	opened func(net.Conn) *wire // makes the wire of the hijacked connection
	status int                  // of the refusal, 0 for none
}

func (w *handshaker) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.status = status
}

func (w *handshaker) Write(p []byte) (int, error) { return len(p), nil }

// Hijack implements http.Hijacker.
func (w *handshaker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("transport: taking the connection over: %w", err)
	}
	c := w.opened(conn)
	if n := buffers.Reader.Buffered(); n > 0 {
		early, _ := buffers.Reader.Peek(n) // frames that came right behind the handshake
		c.early = append([]byte(nil), early...)
	}
	return c, buffered(c), nil
}

// canHijack tells whether a connection can be taken over, as HTTP/2's cannot,
// before anything has been written to it.
func canHijack(w http.ResponseWriter) bool {
	for {
		switch t := w.(type) {
		case http.Hijacker:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
}

// buffered are the buffers of a coder/websocket over c.
func buffered(c *wire) *bufio.ReadWriter {
	return bufio.NewReadWriter(bufio.NewReaderSize(c, readBuffer), bufio.NewWriterSize(c, writeBuffer))
}

// A muted is the ResponseWriter for websocket.Accept where the client had its handshake
// long ago: it gives the wire and says nothing.
type muted struct {
	wire   *wire
	header http.Header
}

func (w *muted) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header, 3)
	}
	return w.header
}

func (w *muted) WriteHeader(int)             {}
func (w *muted) Write(p []byte) (int, error) { return len(p), nil }

// Hijack implements http.Hijacker.
func (w *muted) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.wire, buffered(w.wire), nil }

// cannedRequest is a handshake that websocket.Accept takes. Nobody sees its answer.
func cannedRequest() *http.Request {
	return &http.Request{Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Connection":            {"Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key":     {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}}
}
