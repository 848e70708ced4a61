package transport

import (
	"errors"
	"sync"
)

// The reader reads messages from the bytes of a connection. It is Den's own for two reasons: parked and
// active sockets must treat a client's frames alike, and coder/websocket neither checks UTF-8 nor
// skips a message that is too long.

const (
	readBuffer = 1 << 10 // most actions fit into one read
	headBytes  = 4 << 10 // what is kept of a message that is too long

	// framesPerMessage is the number of frames of one message that count as one more message.
	framesPerMessage = 64
)

// A message is one message of a client, in one frame or several.
type message struct {
	binary bool
	size   uint64 // of the whole message
	over   bool   // the message is longer than the limit
	data   []byte // the whole message, or its first headBytes if it is too long
}

// A reader reads a client's frames. It belongs to one goroutine.
type reader struct {
	source     func(p []byte, between bool) (int, error) // returns bytes or an error; between two messages a read may park the socket
	control    func(op byte, payload []byte) error       // handles control frames; an error ends the reading
	began      func(bool)                                // called when a message begins to arrive, and when it ends
	moreFrames func()                                    // called after each framesPerMessage frames of one message; may be nil
	limit      uint64                                    // bytes of a message; more than twice as many are a violation
	memory     *unfinished                               // counts what a message needs beyond the first buffer

	held   held    // what is counted
	larger *[]byte // the buffer of a message that did not fit into the first one; nil if it fits

	in         [readBuffer]byte
	start, end int // what of in has been read and not taken
}

// errClosed ends the reading after a client's close frame.
var errClosed = errors.New("transport: the client has closed")

// next reads the next message. Its data is appended to buf, or is in a larger buffer if buf is too small. The caller
// calls release after each next, and must not use the data afterwards. The error is a *violation, errClosed, errParked,
// or an error of the connection.
func (r *reader) next(buf []byte) (m message, err error) {
	m.data = buf
	var text utf8Check
	for inner, frames := false, 0; ; {
		h, err := r.header(inner)
		if err != nil {
			return m, err
		}
		if h.op >= opControl {
			if err := r.controlFrame(h); err != nil {
				return m, err
			}
			if !inner {
				r.began(false)
			}
			continue
		}
		if !inner {
			m.binary = h.op == opBinary
		}
		if m.size += h.size; m.size > 2*r.limit {
			return m, tooLarge()
		}
		m.over = m.size > r.limit
		if err := r.payload(&m, h, &text); err != nil {
			return m, err
		}
		if inner = !h.fin; !inner {
			break
		}
		if frames++; frames%framesPerMessage == 0 && r.moreFrames != nil {
			r.moreFrames()
		}
	}
	if !m.binary && !text.complete() {
		return m, notUTF8()
	}
	r.began(false)
	return m, nil
}

// header reads a frame's header, and checks it as early as possible.
func (r *reader) header(inner bool) (h header, err error) {
	if r.start == r.end {
		if err := r.fill(!inner); err != nil {
			return h, err
		}
	}
	if !inner {
		r.began(true)
	}
	for need := 2; ; {
		b := r.in[r.start:r.end]
		switch {
		case len(b) < need:
			if err := r.fill(false); err != nil {
				return h, err
			}
		case need > 2:
			r.start += need
			return parseHeader(b[:need])
		default:
			if err := checkHeader(b[0], b[1], inner); err != nil {
				return h, err
			}
			need = headerSize(b[1])
		}
	}
}

// fill reads more into in.
func (r *reader) fill(between bool) error {
	if r.start > 0 {
		r.end = copy(r.in[:], r.in[r.start:r.end])
		r.start = 0
	}
	n, err := r.source(r.in[r.end:], between)
	r.end += n
	if n > 0 {
		return nil
	}
	return err
}

// payload reads a frame's payload into a message. Of a message that is too long it keeps the beginning.
func (r *reader) payload(m *message, h header, text *utf8Check) error {
	var skip *[headBytes]byte
	if m.over {
		m.data = m.data[:min(len(m.data), headBytes)]
		skip = skips.Get().(*[headBytes]byte)
		defer skips.Put(skip)
	}
	for at := uint64(0); at < h.size; {
		part, keeps, err := r.room(m, skip)
		if err != nil {
			return err
		}
		part = part[:min(uint64(len(part)), h.size-at)]
		n, err := r.read(part)
		if err != nil {
			return err
		}
		part = part[:n]
		unmask(part, h.mask, at)
		at += uint64(n)
		if !m.binary && !text.feed(part) {
			return notUTF8()
		}
		if keeps {
			m.data = m.data[:len(m.data)+n]
		}
	}
	return nil
}

// room returns memory for more of a message. This is the free part of its buffer, which grows with what has
// arrived and not with what was announced. If no more of the message is kept, it is skip.
func (r *reader) room(m *message, skip *[headBytes]byte) (part []byte, keeps bool, err error) {
	if m.over && len(m.data) >= headBytes {
		return skip[:], false, nil
	}
	if len(m.data) == cap(m.data) {
		if err := r.grow(m); err != nil {
			return nil, false, err
		}
	}
	part = m.data[len(m.data):cap(m.data)]
	if m.over {
		part = part[:min(len(part), headBytes-len(m.data))]
	}
	return part, true, nil
}

// grow moves a message into a larger buffer, after its memory was counted.
func (r *reader) grow(m *message) error {
	size, has := nextBytes(len(m.data), m.size), 0
	if r.larger != nil {
		has = cap(*r.larger)
	}
	if size > firstBytes && !r.memory.grow(&r.held, size-has) {
		return overloaded()
	}
	larger := takeBuffer(size)
	m.data = append((*larger)[:0], m.data...)
	if r.larger != nil {
		giveBuffer(r.larger)
	}
	r.larger = larger
	return nil
}

// keep counts the memory of a complete message again, after it was released from the count.
func (r *reader) keep() error {
	if r.larger != nil && !r.memory.grow(&r.held, cap(*r.larger)) {
		return overloaded()
	}
	return nil
}

// release gives back the memory of the message that was read.
func (r *reader) release() {
	r.memory.release(&r.held)
	if r.larger != nil {
		giveBuffer(r.larger)
		r.larger = nil
	}
}

// skips are buffers for the skipped bytes of messages that are too long.
var skips = sync.Pool{New: func() any { return new([headBytes]byte) }}

// read reads a part of a payload: from the buffer in if it has bytes, and directly from source if p is large.
func (r *reader) read(p []byte) (int, error) {
	if r.start == r.end {
		if len(p) >= readBuffer {
			n, err := r.source(p, false)
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if err := r.fill(false); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.in[r.start:r.end])
	r.start += n
	return n, nil
}

// controlFrame reads a control frame and passes it to r.control.
func (r *reader) controlFrame(h header) error {
	var payload [maxControl]byte
	for at := 0; at < int(h.size); {
		n, err := r.read(payload[at:h.size])
		if err != nil {
			return err
		}
		unmask(payload[at:at+n], h.mask, uint64(at))
		at += n
	}
	return r.control(h.op, payload[:h.size])
}
