package transport

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/denrooms/den/syncproto"
)

// The flusher is the goroutine that writes a link's queue.
//
// It runs only while the queue is not empty: the first frame starts it. Frames that were queued
// while it wrote are copied into one buffer and written with one call. This costs less than a vectored
// write, works the same over TLS, and keeps no memory with the descriptor (net.Buffers keeps its vector).
//
// A large frame is written in pieces. The client must take each piece before the write deadline, so
// a piece is small: at 8 KB/s it needs two seconds.

const (
	pieceSize   = 16 << 10 // the most that is written with one call
	gatherSize  = pieceSize
	gatherFrame = 8 << 10 // frames of this size and larger are written separately and not copied
)

// wakeFlusher starts the flusher if it is not running. mu is held.
func (l *link) wakeFlusher() {
	if !l.flushing {
		l.flushing = true
		go l.flush() // ends when the queue is empty or a write fails, at the latest at its deadline
	}
}

// flush writes until the queue is empty. It never runs twice at a time for a link. If it panics, only its socket ends.
func (l *link) flush() {
	defer func() {
		if v := recover(); v != nil {
			l.opts.panicked("a socket's flusher panicked", "", v)
			l.abort(closeAbnormal, "")
		}
	}()
	gather := new(gatherBuffer)
	defer gather.free()
	var written load
	for {
		var piece []byte
		var over bool
		var calls []func()
		piece, written, over, calls = l.next(gather, written)
		runCalls(calls)
		if piece == nil {
			if over {
				close(l.done)
				l.ended()
			}
			return
		}
		if err := l.write(piece); err != nil {
			l.broken(err)
			return
		}
	}
}

// next notes that written was written, and takes what to write next. calls are the functions to call because of what
// was written. If piece is nil, the flusher ends. If over is true too, the link ends with it.
func (l *link) next(gather *gatherBuffer, written load) (piece []byte, amount load, over bool, calls []func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(written)
	calls, l.calls = l.calls, nil
	if len(l.queue)-l.head+len(l.urgent) > 1 {
		gather.need()
	}
	if piece, amount = l.take(gather.buffer); piece == nil {
		over = l.rest()
	}
	return piece, amount, over, calls
}

// A gatherBuffer is the buffer of one flusher. It is allocated when it is first needed.
type gatherBuffer struct{ buffer *[gatherSize]byte }

func (g *gatherBuffer) need() {
	if g.buffer == nil {
		g.buffer = gathers.Get().(*[gatherSize]byte)
	}
}

func (g *gatherBuffer) free() {
	if g.buffer != nil {
		gathers.Put(g.buffer)
	}
}

// write writes a piece. If the connection has taken a part of it by the deadline, the rest gets a
// new deadline.
func (l *link) write(piece []byte) error {
	for {
		last := l.arm()
		n, err := l.try(piece)
		if piece = piece[n:]; err == nil || n == 0 || last || !errors.Is(err, os.ErrDeadlineExceeded) || !resumes(l.conn) {
			return err
		}
		l.armed = time.Time{}
	}
}

// resumes reports whether a connection can be written to after a write that its deadline
// interrupted. A tls.Conn cannot, because its record is incomplete.
func resumes(conn net.Conn) bool {
	_, wraps := conn.(interface{ NetConn() net.Conn })
	return !wraps
}

// errPanicked is the error of a connection that panicked. A connection may be an embedding program's own type.
var errPanicked = errors.New("transport: the connection panicked")

func (l *link) try(piece []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			l.opts.panicked("writing to a socket panicked", "", v)
			err = errPanicked
		}
	}()
	return l.conn.Write(piece)
}

// arm sets the deadline of a write: WriteTimeout, but not later than the deadline of a closing link. last
// reports whether the link is closing. A deadline that was set less than an eighth of WriteTimeout ago
// stays as it is.
func (l *link) arm() (last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last = l.state == linkClosing; !last && now.Sub(l.armed) < l.opts.WriteTimeout/8 {
		return last
	}
	deadline := now.Add(l.opts.WriteTimeout)
	if last && l.deadline.Before(deadline) {
		deadline = l.deadline
	}
	l.armed = now
	l.conn.SetWriteDeadline(deadline)
	return last
}

// gathers are the buffers in which flushers collect small frames.
var gathers = sync.Pool{New: func() any { return new([gatherSize]byte) }}

// take removes from the queue what to write next, and returns its amount. Without a gather buffer it
// takes one frame.
func (l *link) take(gather *[gatherSize]byte) (piece []byte, amount load) {
	switch {
	case l.offset == 0 && len(l.urgent) > 0:
		return l.takeUrgent(gather)
	case l.head == len(l.queue):
		return nil, load{}
	}
	first := l.queue[l.head].wire[l.offset:]
	if gather == nil || l.head+1 == len(l.queue) || len(first) >= gatherFrame || len(l.urgent) > 0 {
		amount = load{len(first), 1}
		if len(first) > pieceSize {
			first, amount = first[:pieceSize], load{pieceSize, 0}
			l.offset += pieceSize
		} else {
			l.shift(1)
		}
	} else {
		n := 0
		for _, q := range l.queue[l.head:] {
			frame := q.wire
			if n == 0 {
				frame = first
			}
			if len(frame) >= gatherFrame || amount.bytes+len(frame) > gatherSize {
				break
			}
			amount.bytes += copy(gather[amount.bytes:], frame)
			n++
		}
		l.shift(n)
		first, amount.frames = gather[:amount.bytes], n
	}
	l.out += uint64(amount.bytes)
	return first, amount
}

// takeUrgent is take for the urgent frames.
func (l *link) takeUrgent(gather *[gatherSize]byte) (piece []byte, amount load) {
	n := 1
	if piece = l.urgent[0]; gather != nil && len(piece) <= gatherSize {
		amount.bytes = copy(gather[:], piece)
		for ; n < len(l.urgent) && amount.bytes+len(l.urgent[n]) <= gatherSize; n++ {
			amount.bytes += copy(gather[amount.bytes:], l.urgent[n])
		}
		piece = gather[:amount.bytes]
	}
	l.dropUrgent(n)
	return piece, load{len(piece), n}
}

// shift removes the first n frames, and releases the memory of a long queue.
func (l *link) shift(n int) {
	for _, q := range l.queue[l.head : l.head+n] {
		q.drop(l.opts.memory)
		if q.then != nil {
			l.calls = append(l.calls, q.then)
		}
	}
	clear(l.queue[l.head : l.head+n])
	l.head, l.offset = l.head+n, 0
	switch {
	case l.head == len(l.queue):
		l.queue, l.head = l.inline[:0], 0
	case l.head > len(l.queue)/2:
		m := copy(l.queue, l.queue[l.head:])
		clear(l.queue[m:])
		l.queue, l.head = l.queue[:m], 0
	}
}

// settle notes that a piece has been written.
func (l *link) settle(written load) {
	if l.head < len(l.queue) {
		l.passed += uint64(written.bytes)
	}
	l.waiting.sub(written)
	l.credit.sub(written)
}

// rest notes that the flusher ends because the queue is empty, and reports whether the link ends with it. mu is held.
func (l *link) rest() (over bool) {
	l.flushing = false
	if over = l.state == linkClosing; over {
		l.state = linkEnded
	}
	return over
}

// broken ends the link after a failed write. If the deadline passed, the client is too slow.
func (l *link) broken(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.abort(syncproto.CloseSlowConsumer, "slow_consumer")
	} else {
		l.abort(closeAbnormal, "")
	}
}

// reset closes the link's connection at once. It recovers from a panic, because the connection may be an
// embedding program's own type.
func (l *link) reset() {
	defer func() {
		if v := recover(); v != nil {
			l.opts.panicked("closing a socket's connection panicked", "", v)
		}
	}()
	reset(l.conn)
}

// reset closes a connection at once. The kernel drops what the client has not taken. Over TLS no
// close_notify is sent, because that could block.
func reset(conn net.Conn) {
	conn = underlyingConn(conn)
	if plain, ok := conn.(plainConn); ok {
		plain.SetLinger(0)
	}
	conn.Close()
}

// A plainConn is a TCP connection with nothing between it and its descriptor: the net
// package's, or one that was parked.
type plainConn interface {
	net.Conn
	syscall.Conn
	SetLinger(seconds int) error
	CloseWrite() error
}

var _ plainConn = (*net.TCPConn)(nil)
