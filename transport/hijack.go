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

// The handshake is coder/websocket's. Its Accept asks the
// ResponseWriter for the connection (http.Hijacker) and makes something that reads and writes
// frames; it is given a connection that does nothing, and the true one becomes the socket's.

// shake makes the handshake.
func shake(w *handshaker, r *http.Request) error {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // origin.go has checked it
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return err
	}
	ws.CloseNow() // only its memory
	return nil
}

// A handshaker is the ResponseWriter for websocket.Accept. It passes a success
// on and keeps a refusal to itself, for we answer with JSON.
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
		early, _ = buffers.Reader.Peek(n) // frames that came right behind the handshake
	}
	w.opened(conn, bytes.Clone(early))
	return nowhere{}, bufio.NewReadWriter(bufio.NewReaderSize(nowhere{}, 16), bufio.NewWriterSize(nowhere{}, 16)), nil
}

// nowhere is a connection to nobody.
type nowhere struct{ net.Conn }

func (nowhere) Read([]byte) (int, error)    { return 0, io.EOF }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Close() error                { return nil }

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
