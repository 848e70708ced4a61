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

// The flusher: the goroutine that writes a link's queue.
//
// Nothing runs while the queue is empty. The first frame starts a flusher, which
// writes until there is nothing left. What queued up while it
// wrote goes out together: frames are copied into one buffer and written with one
// call. That costs less than a vector of them, works the same over TLS, and leaves
// nothing behind in the descriptor (net.Buffers keeps its vector for good).
//
// A large frame is written in pieces. A piece is what a slow line must take before the write
// deadline, so it is small: at 8 KB/s it takes two seconds.

const (
	pieceSize   = 16 << 10 // what is written with one call, at most
	gatherSize  = pieceSize
	gatherFrame = 8 << 10 // frames from this size on go out by themselves, not copied
)

// wakeFlusher sees to it that what was queued is written. mu is held.
func (l *link) wakeFlusher() {
	if !l.flushing {
		l.flushing = true
		go l.flush() // ends when the queue is empty or a write fails, at the latest at its deadline
	}
}

// flush writes until there is nothing left. It never runs twice at a time. If it panics, its socket ends, and
// nothing but it.
func (l *link) flush() {
	defer func() {
		if v := recover(); v != nil {
			l.opts.panicked("a socket's flusher panicked", "", v)
			l.abort(closeAbnormal, "")
		}
	}()
	gather := new(gathering)
	defer gather.free()
	var written load
	for {
		var piece []byte
		var over bool
		var calls []func()
		piece, written, over, calls = l.next(gather, written)
		callBack(calls)
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

// next notes what was written last, and who wants to know of it, and takes what to write next. If there is nothing, the flusher ends, and if over
// is true, the link with it.
func (l *link) next(gather *gathering, written load) (piece []byte, amount load, over bool, calls []func()) {
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

// A gathering is the buffer of one flusher, which it has only if it needs one.
type gathering struct{ buffer *[gatherSize]byte }

func (g *gathering) need() {
	if g.buffer == nil {
		g.buffer = gathers.Get().(*[gatherSize]byte)
	}
}

func (g *gathering) free() {
	if g.buffer != nil {
		gathers.Put(g.buffer)
	}
}

// write writes a piece. A connection that has taken a part of it when the time is over gets
// as much time again for the rest.
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

// resumes tells whether a connection can be written to after a write that was cut short by
// its deadline. A tls.Conn cannot: its record is torn.
func resumes(conn net.Conn) bool {
	_, wraps := conn.(interface{ NetConn() net.Conn })
	return !wraps
}

// errPanicked is the error of a connection that panicked, which may be a program's own.
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

// arm sets the deadline of a write: WriteTimeout, but not later than the link's end, which it
// reports. A deadline that was set a moment ago is left as it is, up to an eighth too short.
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

// gathers are the buffers in which flushers put small frames together.
var gathers = sync.Pool{New: func() any { return new([gatherSize]byte) }}

// take removes what to write next, and says what it amounts to. Without a gather there is
// one frame.
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

// takeUrgent is take for what goes before the queue.
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

// shift drops the first n frames, and the queue's memory when it was a long one.
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

// rest ends a flusher that found nothing to write, and reports whether the link has ended with it. mu is held.
func (l *link) rest() (over bool) {
	l.flushing = false
	if over = l.state == linkClosing; over {
		l.state = linkEnded
	}
	return over
}

// broken ends the link after a failed write. A deadline means a client that takes
// nothing.
func (l *link) broken(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.abort(syncproto.CloseSlowConsumer, "slow_consumer")
	} else {
		l.abort(closeAbnormal, "")
	}
}

// reset is reset for the link's connection, whose Close may be a program's own.
func (l *link) reset() {
	defer func() {
		if v := recover(); v != nil {
			l.opts.panicked("closing a socket's connection panicked", "", v)
		}
	}()
	reset(l.conn)
}

// reset closes a connection at once. What the client has not taken is dropped
// and does not stay in the kernel until it gives up; TLS says no good-bye, for that
// could block.
func reset(conn net.Conn) {
	conn = beneath(conn)
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
