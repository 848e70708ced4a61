package transport

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
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
	return c, bufio.NewReadWriter(bufio.NewReaderSize(c, readBuffer), bufio.NewWriterSize(c, writeBuffer)), nil
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

// A wire is the connection as coder/websocket sees it.
type wire struct {
	net.Conn

	// Immutable.
	link *link
	now  func() int64

	// Owned by the reader.
	early []byte // read by the HTTP server before it gave the connection away
	err   error  // with which the connection ended for reading

	// Safe from any goroutine.
	heard atomic.Int64 // when the client last sent something
}

func (c *wire) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		if len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(c.now())
	}
	if err != nil {
		c.err = err
	}
	return n, err
}

// Write queues one whole frame: coder/websocket writes nothing but control frames
// here, each with one flush of a buffer that holds any of them.
func (c *wire) Write(p []byte) (int, error) {
	c.link.control(p)
	return len(p), nil
}

// Close ends reading. The socket closes the connection, when its last frame is out.
func (c *wire) Close() error {
	return c.Conn.SetReadDeadline(time.Unix(1, 0))
}
