package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

// The handshake is coder/websocket's. Its Accept takes the connection from the ResponseWriter
// (http.Hijacker) and makes a Conn that reads and writes frames. Here Accept gets a connection
// that does nothing, and the real one becomes the socket's.

// acceptHandshake does the handshake.
func acceptHandshake(w *handshaker, r *http.Request) error {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // origin.go has checked it
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return err
	}
	ws.CloseNow() // releases its memory; the real connection stays open
	return nil
}

// A handshaker is the ResponseWriter for websocket.Accept. It passes a success on and holds
// a refusal back, because Den answers with JSON.
type handshaker struct {
	http.ResponseWriter
	opened func(conn net.Conn, early []byte) // takes the hijacked connection, and what has been read of it
	status int                               // of the refusal, 0 for none
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
	var early []byte
	if n := buffers.Reader.Buffered(); n > 0 {
		early, _ = buffers.Reader.Peek(n) // frames that arrived with the handshake
	}
	w.opened(conn, bytes.Clone(early))
	return discardConn{}, bufio.NewReadWriter(bufio.NewReaderSize(discardConn{}, 16), bufio.NewWriterSize(discardConn{}, 16)), nil
}

// discardConn is a connection that discards what is written and has nothing to read.
type discardConn struct{ net.Conn }

func (discardConn) Read([]byte) (int, error)    { return 0, io.EOF }
func (discardConn) Write(p []byte) (int, error) { return len(p), nil }
func (discardConn) Close() error                { return nil }

// canHijack reports whether a connection can be taken over, before anything has been
// written to it. That of HTTP/2 cannot.
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
