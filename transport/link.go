package transport

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// The sending half of a socket. All frames go through one bounded queue: those of a room, and
// pings, pongs and closes. So frames cannot interleave, and no sender waits for the client.
//
// Pings, pongs and automatic answers are urgent: each is sent as soon as the current frame ends,
// before all that waits. Otherwise, while megabytes are on their way to a client on a slow connection,
// the server would take the client for dead, or the client the server.
//
// flush.go has the goroutine that writes.

type linkState int

const (
	linkOpen    linkState = iota
	linkClosing           // a close frame is the last of the queue; nothing follows it
	linkEnded             // the close frame is written, or the connection is broken
)

// A link is the sending half of a socket that is active.
type link struct {
	// Immutable.

	conn  net.Conn
	opts  *Options
	ended func()        // called once, on any goroutine, after done was closed; must not block
	done  chan struct{} // closed after the last write: by the flusher, or by abort

	// Protected by mu.

	mu       sync.Mutex
	state    linkState
	flushing bool       // the flusher is running
	urgent   [][]byte   // whole frames that are sent before the queue's next one
	queue    []queued   // whole frames with their headers, from head on
	head     int        // the first frame that has not been taken
	offset   int        // how much of that frame has been taken
	waiting  load       // what has been sent and not yet written
	credit   load       // the part of waiting that was sent in one call over the limit
	code     int        // why the link ends, from linkClosing on
	reason   string     //
	deadline time.Time  // when writing must be over, from linkClosing on
	in, out  uint64     // bytes that were ever put into queue, and taken from it to be written
	noted    queuePlace // the last place in the queue that a ping noted
	passed   uint64     // bytes that the connection took while others waited
	calls    []func()   // called when what was taken last has been written
	inline   [4]queued  // queue's memory while it is short

	// Owned by the flusher.

	armed time.Time // when the connection's write deadline was set
}

// A queuePlace is a place in the queue: what the room had sent (hibernate.Connection.Mark) when link.in
// had this value.
type queuePlace struct{ mark, in uint64 }

// A load is an amount of queued work.
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

// Send queues frames in order. If too much waits for the client already, Send drops what
// waits and closes the link with 4000.
func (l *link) Send(frames ...*hibernate.Frame) {
	if len(frames) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return
	}
	done := 0
	if len(frames) == 1 {
		if done = l.writeAtOnce(frames[0].Wire()); done == len(frames[0].Wire()) {
			return
		}
	}
	if l.full(l.room(frames)) {
		l.overflow()
	} else {
		sent := load{-done, 0}
		for _, f := range frames {
			l.queue = append(l.queue, queue(f).keep(l.opts.memory))
			sent.add(load{len(f.Wire()), 1})
		}
		if done > 0 {
			l.offset = done // nothing was queued before it
		}
		l.in += uint64(sent.bytes)
		l.account(sent)
	}
	l.wakeFlusher()
}

// resume queues frames without their first done bytes, which a parked socket has taken
// already. The link is new and not shared yet.
func (l *link) resume(frames []queued, done int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(frames) > 0 && done >= len(frames[0].wire) {
		done -= len(frames[0].wire)
		frames = frames[1:]
	}
	sent := load{-done, len(frames)}
	for _, f := range frames {
		l.queue = append(l.queue, f.keep(l.opts.memory))
		sent.bytes += len(f.wire)
	}
	l.offset = done
	l.in += uint64(sent.bytes)
	l.account(sent)
	l.wakeFlusher()
}

// idle reports whether nothing waits and nothing is being written.
func (l *link) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == linkOpen && !l.flushing && l.head == len(l.queue) && len(l.urgent) == 0
}

// Waiting returns the number of bytes that were sent and are not written yet. While there are
// many, a room reads no more of a large channel for this client.
func (l *link) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.bytes
}

// writeAtOnce writes a small frame on the caller's goroutine if nothing waits before it. This saves
// starting a goroutine and waking a thread, which is much of the time of a single reply. The limiter
// allows it once in a while: if a room sends to many clients, only the first frame is written
// like this, and flushers write the others in parallel. writeAtOnce returns the number of bytes
// that the socket took. The flusher writes the rest. mu is held.
func (l *link) writeAtOnce(wire []byte) int {
	if l.flushing || l.head != len(l.queue) || len(wire) > atOnceBytes || !l.opts.direct.take() {
		return 0
	}
	return attempt(l.conn, wire)
}

// A writeLimiter allows one call every atOnceEvery. A nil one allows none.
type writeLimiter struct{ last atomic.Int64 }

const (
	atOnceBytes = 4 << 10
	atOnceEvery = 50 * time.Microsecond
)

func (t *writeLimiter) take() bool {
	if t == nil {
		return false
	}
	now, last := time.Now().UnixNano(), t.last.Load()
	return (now < last || now-last >= int64(atOnceEvery)) && t.last.CompareAndSwap(last, now)
}

// Close queues a close frame after everything that waits. Only the first call has an effect.
func (l *link) Close(code int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return
	}
	l.last(closeFrame(code, reason), code, reason, l.opts.WriteTimeout)
	l.wakeFlusher()
}

// sendUrgent queues a copy of a whole frame that is sent before all that waits: a ping, a pong, or an
// automatic answer.
func (l *link) sendUrgent(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return
	}
	l.queueUrgent(frame)
	l.wakeFlusher()
}

// ping is sendUrgent for a ping. mark is what the room has sent so far. The result is the mark of what the
// client certainly has when it answers this ping, because it was written before the ping. If the queue
// is not empty, this is the mark of an earlier ping.
func (l *link) ping(frame []byte, mark uint64) (covers uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return 0
	}
	switch {
	case l.out == l.in:
		covers, l.noted = mark, queuePlace{}
	case l.noted == queuePlace{}:
		l.noted = queuePlace{mark, l.in}
	case l.out >= l.noted.in:
		covers, l.noted = l.noted.mark, queuePlace{mark, l.in}
	}
	l.queueUrgent(frame)
	l.wakeFlusher()
	return covers
}

// flow returns the number of bytes that the connection has taken while others waited, and whether
// some wait now. If the connection takes them, the client is alive.
func (l *link) flow() (passed uint64, waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed, l.head < len(l.queue)
}

// closing reports whether a close frame has been queued.
func (l *link) closing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state != linkOpen
}

// why returns the code and reason with which the link was closed.
func (l *link) why() (code int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code, l.reason
}

// abort ends the link and its connection without writing more. The room is told code and reason, unless
// the link was closed before.
func (l *link) abort(code int, reason string) {
	l.mu.Lock()
	first := l.state != linkEnded
	l.end(code, reason)
	l.mu.Unlock()
	l.reset()
	if first {
		close(l.done)
		l.ended()
	}
}

// giveUp ends a link whose client seems to be gone. It drops what waits and writes a close frame
// within giveUpTimeout.
func (l *link) giveUp(code int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return
	}
	l.cut(code, reason, giveUpTimeout)
	l.wakeFlusher()
}

// The following methods are called with mu held.

// queueUrgent appends a copy of a frame to urgent.
func (l *link) queueUrgent(frame []byte) {
	if l.full(l.opts.SendQueueBytes) {
		l.overflow()
		return
	}
	l.opts.memory.Take(len(frame))
	l.urgent = append(l.urgent, append([]byte(nil), frame...))
	l.account(load{len(frame), 1})
}

// full reports whether as many bytes or frames wait as may. The limit of bytes is what is left of the node's
// memory and of the room's part of it, so when memory becomes scarce, the slowest clients are closed first.
func (l *link) full(room int) bool {
	return l.waiting.bytes > 0 && l.waiting.bytes >= room+l.credit.bytes ||
		l.waiting.frames >= l.opts.SendQueueFrames+l.credit.frames
}

// account notes what was sent. If sent alone exceeds a limit, it becomes credit until it is
// written, because one large snapshot does not mean that the client is slow.
func (l *link) account(sent load) {
	l.waiting.add(sent)
	if l.credit == (load{}) && l.full(l.opts.SendQueueBytes) {
		l.credit = sent
	}
}

// overflow ends a link whose client does not keep up.
func (l *link) overflow() {
	l.cut(syncproto.CloseSlowConsumer, "slow_consumer", closeTimeout)
}

// cut drops what waits, except the rest of a frame that is partly written, and queues a close
// frame.
func (l *link) cut(code int, reason string, within time.Duration) {
	if l.offset > 0 {
		l.dropQueue(1)
	} else {
		l.dropQueue(0)
	}
	l.queue, l.head = append([]queued(nil), l.queue[l.head:]...), 0
	l.dropUrgent(len(l.urgent))
	l.last(closeFrame(code, reason), code, reason, within)
	l.conn.SetWriteDeadline(l.deadline) // also for the piece that is being written
}

func (l *link) last(frame []byte, code int, reason string, within time.Duration) {
	l.queue = append(l.queue, queued{wire: frame}.keep(l.opts.memory))
	l.state, l.code, l.reason = linkClosing, code, reason
	l.deadline = time.Now().Add(within)
}

func (l *link) end(code int, reason string) {
	if l.state == linkOpen {
		l.code, l.reason = code, reason
	}
	l.dropUrgent(len(l.urgent))
	l.dropQueue(0)
	l.state, l.queue, l.head, l.offset = linkEnded, nil, 0, 0
}
