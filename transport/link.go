package transport

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// The sending half of a socket. Everything that leaves goes through one bounded
// queue: a room's frames, and the pings, pongs and closes of the WebSocket machinery. So
// frames cannot interleave, and nobody who sends waits for the client.
//
// Pings, pongs and automatic answers are urgent: each goes out as soon as the frame that is
// being written ends, before all that waits. Otherwise a client on a slow line would be taken
// for dead, or would take the server for dead, while megabytes are on their way to it.
//
// flush.go has the goroutine that writes.

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
	urgent   [][]byte  // whole frames that go out before the queue's next one
	queue    []queued  // whole frames as they go over the line, from head on
	head     int       // the first that has not been taken
	offset   int       // how much of that one has been taken
	waiting  load      // what has been sent and not yet written
	credit   load      // how much of it was sent in one call over the limit
	code     int       // why it ends, from linkClosing on
	reason   string    //
	deadline time.Time // when the writing must be over, from linkClosing on
	in, out  uint64    // bytes that were ever put into queue, and taken from it to be written
	noted    placed    // the last place in the queue that a ping asked about
	passed   uint64    // bytes that the connection took while others waited behind them
	calls    []func()  // who wants to know when what was taken last has been written
	inline   [4]queued // queue's memory while it is short

	// Owned by the flusher.

	armed time.Time // when the connection's write deadline was set
}

// A placed says what the room had handed over (hibernate.Connection.Mark) when the queue
// had a length.
type placed struct{ mark, in uint64 }

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

// resume queues what is left of frames that a parked socket was sent and has taken a part
// of: all but their first done bytes. The link is new, and nobody else has it yet.
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

// idle tells whether nothing waits and nothing is being written, and neither will be by
// itself.
func (l *link) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == linkOpen && !l.flushing && l.head == len(l.queue) && len(l.urgent) == 0
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
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return
	}
	l.last(closeFrame(code, reason), code, reason, l.opts.WriteTimeout)
	l.wakeFlusher()
}

// hasten queues a copy of a whole frame that goes out before all that waits: a ping, a pong, an
// automatic answer.
func (l *link) hasten(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return
	}
	l.urge(frame)
	l.wakeFlusher()
}

// ping is hasten for a ping. mark is what the room has handed over; the result is what of it the
// client surely has when it answers, because it left before the ping. While the queue is
// never empty, that is the mark of an earlier ping.
func (l *link) ping(frame []byte, mark uint64) (covers uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return 0
	}
	switch {
	case l.out == l.in:
		covers, l.noted = mark, placed{}
	case l.noted == placed{}:
		l.noted = placed{mark, l.in}
	case l.out >= l.noted.in:
		covers, l.noted = l.noted.mark, placed{mark, l.in}
	}
	l.urge(frame)
	l.wakeFlusher()
	return covers
}

// flow tells how many bytes the connection has taken while others waited behind them, and
// whether some wait now. A client whose connection takes them is alive.
func (l *link) flow() (passed uint64, waits bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed, l.head < len(l.queue)
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
	l.reset()
	if first {
		close(l.done)
		l.ended()
	}
}

// giveUp ends a link whose client seems to be gone: what waits is dropped, and the close frame
// has a moment to leave.
func (l *link) giveUp(code int, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != linkOpen {
		return
	}
	l.cut(code, reason, giveUpTimeout)
	l.wakeFlusher()
}

// What follows is called with mu held.

// urge puts a copy of a frame into urgent.
func (l *link) urge(frame []byte) {
	if l.full(l.opts.SendQueueBytes) {
		l.overflow()
		return
	}
	l.opts.memory.Take(len(frame))
	l.urgent = append(l.urgent, append([]byte(nil), frame...))
	l.account(load{len(frame), 1})
}

// full reports whether too much waits for more to be queued: as many bytes as there is room for, or as many
// frames as may. What waits may be as much as is left of the node's memory and of the room's part of it, so
// the slowest clients are closed first when it becomes scarce.
func (l *link) full(room int) bool {
	return l.waiting.bytes > 0 && l.waiting.bytes >= room+l.credit.bytes ||
		l.waiting.frames >= l.opts.SendQueueFrames+l.credit.frames
}

// account notes what was sent. If it alone went over a limit it is given credit
// for, until it is written: one large snapshot is no sign of a slow client.
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

// cut drops what waits, but for the rest of a frame that is half out, and has a close
// frame follow.
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
