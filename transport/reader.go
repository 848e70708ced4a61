package transport

import (
	"errors"
	"sync"
)

// The reader takes messages out of the bytes of a connection. It is Den's own: what a socket
// that is parked and one that is not do with a client's frames must be the same, and
// coder/websocket neither checks UTF-8 nor passes over a message that is too long.

const (
	readBuffer = 1 << 10 // most actions come with one read
	headBytes  = 4 << 10 // what is kept of a message that is too long

	// framesPerMessage is the number of frames of one message that count as one more message.
	framesPerMessage = 64
)

// A message is what a client has sent, in one frame or several.
type message struct {
	binary bool
	size   uint64 // of the whole
	over   bool   // it is longer than the limit
	data   []byte // the whole, or the first headBytes of a message that is too long
}

// A reader reads a client's frames. It belongs to one goroutine.
type reader struct {
	source  func(p []byte, between bool) (int, error) // gives bytes or an error; between two messages a read may park the socket
	control func(op byte, payload []byte) error       // takes control frames; it ends the reading with its error
	began   func(bool)                                // told when a message begins to come, and when it ends
	goesOn  func()                                    // told when framesPerMessage more frames of one message have come; nil: nobody wants to know
	limit   uint64                                    // bytes of a message; one of more than twice as many is a violation
	memory  *unfinished                               // of which what a message needs beside the first buffer is taken

	held   held    // what is taken
	larger *[]byte // the buffer that the message has outgrown its first one for; nil: it has not

	in         [readBuffer]byte
	start, end int // what of in has been read and not taken
}

// errClosed ends the reading after a client's close frame.
var errClosed = errors.New("transport: the client has closed")

// next reads the next message, whose data it appends to buf, or puts into a larger buffer where that is too small. Both are
// the reader's again after release, which follows each next. The error is a *violation, errClosed,
// errParked, or what the connection says.
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
		if frames++; frames%framesPerMessage == 0 && r.goesOn != nil {
			r.goesOn()
		}
	}
	if !m.binary && !text.complete() {
		return m, notUTF8()
	}
	r.began(false)
	return m, nil
}

// header reads a frame's header, and judges it as soon as it can.
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

// payload reads a frame's payload into a message. Of a message that is too long the beginning
// is kept.
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

// room gives memory for more of a message: behind its data, which grows with what has
// come, not with what was announced; or, where no more is kept, skip.
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

// grow moves a message into a larger buffer, whose memory is taken before.
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

// keep takes the memory of a message again that is whole and has been released from the count. The message stays in
// its buffer.
func (r *reader) keep() error {
	if r.larger != nil && !r.memory.grow(&r.held, cap(*r.larger)) {
		return overloaded()
	}
	return nil
}

// release gives back what the message that was read has needed.
func (r *reader) release() {
	r.memory.release(&r.held)
	if r.larger != nil {
		giveBuffer(r.larger)
		r.larger = nil
	}
}

// skips are where the bytes of messages go that are too long.
var skips = sync.Pool{New: func() any { return new([headBytes]byte) }}

// read reads a part of a payload: from in where that has something, and past it where a lot is
// wanted.
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

// controlFrame reads a control frame, and passes it on.
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
