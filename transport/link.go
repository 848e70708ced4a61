package transport

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// The sending half of a socket. Everything that leaves goes through one bounded
// queue: a room's frames, and the pongs and closes of the WebSocket machinery. So
// frames cannot interleave, and nobody who sends waits for the client.
//
// Nothing runs while the queue is empty. The first frame starts a flusher, a
// goroutine that writes until there is nothing left. What queued up while it
// wrote goes out together: frames are copied into one buffer and written with one
// call. That costs less than a vector of them, works the same over TLS, and leaves
// nothing behind in the descriptor (net.Buffers keeps its vector for good).

const (
	gatherSize  = 64 << 10  // what goes out together
	gatherFrame = 16 << 10  // frames from this size on go out by themselves, not copied
	pieceSize   = 256 << 10 // what one write deadline covers
)

type linkState int

const (
	linkOpen    linkState = iota
	linkClosing           // a close frame is the last of the queue; nothing comes behind it
	linkEnded             // the close frame is written, or the line is broken
)

// A link is the sending half of a socket that is active.
type link struct {
	// Immutable.

	conn  net.Conn
	opts  *Options
	ended func()        // called once, when done has been closed, from any goroutine; must not block
	done  chan struct{} // closed when nothing will be written any more: by the flusher that writes last, or by abort

	// Protected by mu.

	mu       sync.Mutex
	state    linkState
	flushing bool      // there is a flusher
	queue    [][]byte  // whole frames as they go over the line, from head on
	head     int       // the first that has not been taken
	offset   int       // how much of that one has been taken
	waiting  load      // what has been sent and not yet written
	credit   load      // how much of it was sent in one call over the limit
	code     int       // why it ends, from linkClosing on
	reason   string    //
	deadline time.Time // when the writing must be over, from linkClosing on
	inline   [4][]byte // queue's memory while it is short

	// Owned by the flusher.

	armed time.Time // when the connection's write deadline was set
}

// A load is an amount of work queued.
type load struct{ bytes, frames int }

func (a *load) add(b load) { a.bytes += b.bytes; a.frames += b.frames }
func (a *load) sub(b load) {
	a.bytes = max(0, a.bytes-b.bytes)
	a.frames = max(0, a.frames-b.frames)
}

func newLink(conn net.Conn, opts *Options, ended func()) *link {
	l := &link{conn: conn, opts: opts, ended: ended, done: make(chan struct{})}
	l.queue = l.inline[:0]
	return l
}

// Send queues frames in order. A client that has too much waiting already loses
// what waits and is closed with 4000.
func (l *link) Send(frames ...*hibernate.Frame) {
	if len(frames) == 0 {
		return
	}
	l.mu.Lock()
	if l.state != linkOpen {
		l.mu.Unlock()
		return
	}
	done := 0
	if len(frames) == 1 {
		if done = l.writeAtOnce(frames[0].Wire()); done == len(frames[0].Wire()) {
			l.mu.Unlock()
			return
		}
	}
	if l.full() {
		l.overflow()
	} else {
		sent := load{-done, 0}
		for _, f := range frames {
			wire := f.Wire()
			l.queue = append(l.queue, wire)
			sent.add(load{len(wire), 1})
		}
		if done > 0 {
			l.offset = done // nothing was queued before it
		}
		l.account(sent)
	}
	l.unlockAndFlush()
}

// resume queues what is left of frames that a parked socket was sent and has taken a part
// of: all but their first done bytes. The link is new.
func (l *link) resume(frames [][]byte, done int) {
	l.mu.Lock()
	for len(frames) > 0 && done >= len(frames[0]) {
		done -= len(frames[0])
		frames = frames[1:]
	}
	sent := load{-done, len(frames)}
	for _, f := range frames {
		l.queue = append(l.queue, f)
		sent.bytes += len(f)
	}
	l.offset = done
	l.account(sent)
	l.unlockAndFlush()
}

// idle tells whether nothing waits and nothing is being written, and neither will be by
// itself.
func (l *link) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == linkOpen && !l.flushing && l.head == len(l.queue)
}

// Waiting is how many bytes were sent and are not written yet. A room reads no more of
// a large channel for this client while there are many.
func (l *link) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.bytes
}

// writeAtOnce writes a small frame from the caller's goroutine if nothing waits before
// it and the socket takes it whole at once, which saves a goroutine's start and a thread's
// waking: much of the time of a lone reply. A room that sends to many gets this for
// the first of them only; the rest are written by flushers, side by side, and the room
// goes on. It gives how many bytes the socket took; the rest is the flusher's. mu is
// held.
func (l *link) writeAtOnce(wire []byte) int {
	if l.flushing || l.head != len(l.queue) || len(wire) > atOnceBytes || !l.opts.direct.take() {
		return 0
	}
	return attempt(l.conn, wire)
}

// A turnstile lets one caller through in a while. A nil one lets nobody through.
type turnstile struct{ last atomic.Int64 }

const (
	atOnceBytes = 4 << 10
	atOnceEvery = 50 * time.Microsecond
)

func (t *turnstile) take() bool {
	if t == nil {
		return false
	}
	now, last := time.Now().UnixNano(), t.last.Load()
	return (now < last || now-last >= int64(atOnceEvery)) && t.last.CompareAndSwap(last, now)
}

// Close queues a close frame behind everything that waits. The first one counts.
func (l *link) Close(code int, reason string) {
	l.closeWith(closeFrame(code, reason), code, reason)
}

// control queues a copy of a control frame. A close frame is the last:
// what comes behind one is dropped.
func (l *link) control(frame []byte) {
	if frame[0]&opcodeBits == opClose {
		code, reason := readClose(frame)
		if code == syncproto.CloseTooBig {
			reason = string(syncproto.CodeTooLarge)
			frame = closeFrame(code, reason)
		}
		l.closeWith(append([]byte(nil), frame...), code, reason)
		return
	}
	l.mu.Lock()
	if l.state != linkOpen {
		l.mu.Unlock()
		return
	}
	if l.full() {
		l.overflow()
	} else {
		l.queue = append(l.queue, append([]byte(nil), frame...))
		l.account(load{len(frame), 1})
	}
	l.unlockAndFlush()
}

// closing tells whether a close frame has been queued.
func (l *link) closing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state != linkOpen
}

// why says with what the link was closed.
func (l *link) why() (code int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code, l.reason
}

// abort ends the link and its connection with nothing more written. code is what
// is told to the room if nothing else has closed the link before.
func (l *link) abort(code int, reason string) {
	l.mu.Lock()
	first := l.state != linkEnded
	l.end(code, reason)
	l.mu.Unlock()
	reset(l.conn)
	if first {
		close(l.done)
		l.ended()
	}
}

func (l *link) closeWith(frame []byte, code int, reason string) {
	l.mu.Lock()
	if l.state != linkOpen {
		l.mu.Unlock()
		return
	}
	l.last(frame, code, reason, l.opts.WriteTimeout)
	l.unlockAndFlush()
}

// full, account, overflow, last, end, unlockAndFlush, take, settle: with mu held.

func (l *link) full() bool {
	return l.waiting.bytes >= l.opts.SendQueueBytes+l.credit.bytes ||
		l.waiting.frames >= l.opts.SendQueueFrames+l.credit.frames
}

// account notes what was sent. If it alone went over a limit it is given credit
// for, until it is written: one large snapshot is no sign of a slow client.
func (l *link) account(sent load) {
	l.waiting.add(sent)
	if l.credit == (load{}) && l.full() {
		l.credit = sent
	}
}

// overflow drops what waits, but for the rest of a frame that is half out.
func (l *link) overflow() {
	rest := l.queue[l.head:]
	if l.offset > 0 {
		rest = rest[:1]
	} else {
		rest = nil
	}
	l.queue = append([][]byte(nil), rest...)
	l.head = 0
	l.last(closeFrame(syncproto.CloseSlowConsumer, "slow_consumer"), syncproto.CloseSlowConsumer, "slow_consumer", closeTimeout)
	l.conn.SetWriteDeadline(l.deadline) // also for the piece that is being written
}

func (l *link) last(frame []byte, code int, reason string, within time.Duration) {
	l.queue = append(l.queue, frame)
	l.state, l.code, l.reason = linkClosing, code, reason
	l.deadline = time.Now().Add(within)
}

func (l *link) end(code int, reason string) {
	if l.state == linkOpen {
		l.code, l.reason = code, reason
	}
	l.state, l.queue, l.head, l.offset = linkEnded, nil, 0, 0
}

func (l *link) unlockAndFlush() {
	start := !l.flushing
	l.flushing = true
	l.mu.Unlock()
	if start {
		go l.flush() // ends when the queue is empty or a write fails, at the latest at its deadline
	}
}

// flush writes until there is nothing left. It never runs twice at a time.
func (l *link) flush() {
	var gather *[gatherSize]byte
	var written load
	for {
		l.mu.Lock()
		l.settle(written)
		if gather == nil && len(l.queue)-l.head > 1 {
			gather = gathers.Get().(*[gatherSize]byte)
			defer gathers.Put(gather)
		}
		var piece []byte
		piece, written = l.take(gather)
		if piece == nil {
			l.rest()
			return
		}
		var limit time.Time
		if l.state == linkClosing {
			limit = l.deadline
		}
		l.mu.Unlock()
		l.arm(limit)
		if err := l.write(piece); err != nil {
			l.broken(err)
			return
		}
	}
}

// errPanicked is the error of a connection whose Write panicked, which may be a program's own.
var errPanicked = errors.New("transport: writing panicked")

func (l *link) write(piece []byte) (err error) {
	defer func() {
		if v := recover(); v != nil {
			l.opts.panicked("writing to a socket panicked", "", v)
			err = errPanicked
		}
	}()
	_, err = l.conn.Write(piece)
	return err
}

// arm sets the deadline of a write: WriteTimeout, but not later than limit. A
// deadline that was set a moment ago is left as it is, up to an eighth too short.
func (l *link) arm(limit time.Time) {
	now := time.Now()
	if limit.IsZero() && now.Sub(l.armed) < l.opts.WriteTimeout/8 {
		return
	}
	deadline := now.Add(l.opts.WriteTimeout)
	if !limit.IsZero() && limit.Before(deadline) {
		deadline = limit
	}
	l.armed = now
	l.conn.SetWriteDeadline(deadline)
}

// gathers are the buffers in which flushers put small frames together.
var gathers = sync.Pool{New: func() any { return new([gatherSize]byte) }}

// take removes what to write next from the queue, and says what it amounts to.
func (l *link) take(gather *[gatherSize]byte) (piece []byte, amount load) {
	if l.head == len(l.queue) {
		return nil, load{}
	}
	first := l.queue[l.head][l.offset:]
	if gather == nil || l.head+1 == len(l.queue) || len(first) >= gatherFrame {
		if len(first) > pieceSize {
			l.offset += pieceSize
			return first[:pieceSize], load{pieceSize, 0}
		}
		l.shift(1)
		return first, load{len(first), 1}
	}
	n, size := 0, 0
	for _, frame := range l.queue[l.head:] {
		if n == 0 {
			frame = first
		}
		if len(frame) >= gatherFrame || size+len(frame) > gatherSize {
			break
		}
		size += copy(gather[size:], frame)
		n++
	}
	l.shift(n)
	return gather[:size], load{size, n}
}

// shift drops the first n frames, and the queue's memory when it was a long one.
func (l *link) shift(n int) {
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

func (l *link) settle(written load) {
	l.waiting.sub(written)
	l.credit.sub(written)
}

// rest ends a flusher that found nothing to write. mu is held, and given back.
func (l *link) rest() {
	l.flushing = false
	over := l.state == linkClosing
	if over {
		l.state = linkEnded
	}
	l.mu.Unlock()
	if over {
		close(l.done)
		l.ended()
	}
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

// reset closes a connection at once. What the client has not taken is dropped
// and does not stay in the kernel until it gives up; TLS says no good-bye, for that
// could block.
func reset(conn net.Conn) {
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = tls.NetConn()
	}
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
