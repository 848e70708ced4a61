package transport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"
)

// The body of a plain request, as it is stored between the client and the room.

// A body is a request's body. Its memory counts in unfinished until the room has read it to its end
// or the request has ended. The zero value is an empty body.
type body struct {
	memory *unfinished
	held   held
	left   bytes.Reader // what the room has not read
}

var _ io.ReadCloser = (*body)(nil)

// errNoMemory is the error of a body for which no memory is left.
var errNoMemory = errors.New("transport: no memory for the body")

// read reads the body from the client. At most announced bytes are expected. The buffer grows with what has arrived.
func (b *body) read(from io.Reader, announced uint64) error {
	data := make([]byte, 0, min(announced, firstBytes)+1) // one more, to see the end
	for {
		n, err := from.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case err == io.EOF:
			b.left.Reset(data)
			return nil
		case err != nil:
			return err
		case len(data) < cap(data):
			continue
		}
		size := int(min(2*uint64(len(data)), max(announced, uint64(len(data)))+1))
		if !b.memory.grow(&b.held, size-len(data)) {
			return errNoMemory
		}
		data = append(make([]byte, 0, size), data...)
	}
}

// Read implements io.Reader for the room.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.left.Read(p)
	if err != nil {
		b.Close()
	}
	return n, err
}

// Close releases the body.
func (b *body) Close() error {
	b.left.Reset(nil)
	b.memory.release(&b.held)
	return nil
}

// An interrupter ends the reading of a request's body.
type interrupter struct{ control *http.ResponseController }

func (i interrupter) evict() { i.control.SetReadDeadline(time.Unix(1, 0)) }
