package transport

import (
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// A line is a slow network in virtual time, for synctest bubbles: what is written to one end lies
// in a buffer until its turn comes, takes its time at the line's rate, and arrives after the delay.

// A shape says how slow a line is. Both directions are the same.
type shape struct {
	rate   int           // bytes a second
	delay  time.Duration // from one end to the other
	buffer int           // bytes that an end takes beyond what is on its way
	every  time.Duration // how often the line stands still; 0: never
	still  time.Duration // for how long
}

// newLine makes both ends. cut stops all that has not arrived, for good, and tells nobody.
func newLine(t *testing.T, s shape) (a, b net.Conn, cut func()) {
	began := time.Now()
	there, back := newLane(s, began), newLane(s, began)
	a, b = &lineEnd{in: back, out: there}, &lineEnd{in: there, out: back}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b, func() { there.cut(); back.cut() }
}

// A lane is one direction.
type lane struct {
	shape
	began time.Time

	mu       sync.Mutex
	changed  chan struct{} // closed when anything below has changed
	free     time.Time     // when the line has sent all that it was given
	chunks   []chunk       // not read yet
	leaving  []chunk       // not sent yet
	closed   bool          // by either end
	dead     bool
	deadline [2]time.Time // of the reader, of the writer
}

type chunk struct {
	at   time.Time
	data []byte
}

const (
	reading = iota
	writing
)

func newLane(s shape, began time.Time) *lane {
	return &lane{shape: s, began: began, free: began, changed: make(chan struct{})}
}

// change tells those who wait. mu is held.
func (l *lane) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *lane) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	l.change()
}

// wait waits for a change, the time until, or the deadline of one of both. mu is held, and given
// back meanwhile.
func (l *lane) wait(who int, until time.Time) error {
	limit := l.deadline[who]
	if !limit.IsZero() && !time.Now().Before(limit) {
		return os.ErrDeadlineExceeded
	}
	if until.IsZero() || !limit.IsZero() && limit.Before(until) {
		until = limit
	}
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	changed := l.changed
	l.mu.Unlock()
	select {
	case <-changed:
	case <-due:
	}
	l.mu.Lock()
	return nil
}

func (l *lane) write(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(p) > 0 {
		if l.closed {
			return n, io.ErrClosedPipe
		}
		now, waiting := time.Now(), 0
		for len(l.leaving) > 0 && !l.dead && !l.leaving[0].at.After(now) {
			l.leaving = l.leaving[1:]
		}
		for _, c := range l.leaving {
			waiting += len(c.data)
		}
		part := p[:min(len(p), 1024)]
		if waiting > 0 && waiting+len(part) > l.buffer {
			var until time.Time
			if !l.dead {
				until = l.leaving[0].at
			}
			if err := l.wait(writing, until); err != nil {
				return n, err
			}
			continue
		}
		sent := l.send(now, len(part))
		data := append([]byte(nil), part...)
		l.leaving = append(l.leaving, chunk{sent, data})
		l.chunks = append(l.chunks, chunk{sent.Add(l.delay), data})
		p, n = p[len(part):], n+len(part)
		l.change()
	}
	return n, nil
}

// send gives when the line has sent so many bytes more.
func (l *lane) send(now time.Time, size int) time.Time {
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(size) * time.Second / time.Duration(l.rate))
	if l.every > 0 {
		if into := l.free.Sub(l.began) % l.every; into < l.still {
			l.free = l.free.Add(l.still - into)
		}
	}
	return l.free
}

func (l *lane) read(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		var until time.Time
		if len(l.chunks) > 0 && !l.dead {
			if until = l.chunks[0].at; !until.After(time.Now()) {
				n := copy(p, l.chunks[0].data)
				if l.chunks[0].data = l.chunks[0].data[n:]; len(l.chunks[0].data) == 0 {
					l.chunks = l.chunks[1:]
				}
				return n, nil
			}
		}
		if l.closed && (until.IsZero() || l.dead) {
			return 0, io.EOF
		}
		if err := l.wait(reading, until); err != nil {
			return 0, err
		}
	}
}

func (l *lane) limit(who int, t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deadline[who] = t
	l.change()
}

func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.change()
	}
}

type lineEnd struct{ in, out *lane }

func (e *lineEnd) Read(p []byte) (int, error)         { return e.in.read(p) }
func (e *lineEnd) Write(p []byte) (int, error)        { return e.out.write(p) }
func (e *lineEnd) Close() error                       { e.in.close(); e.out.close(); return nil }
func (e *lineEnd) LocalAddr() net.Addr                { return pipeAddr{} }
func (e *lineEnd) RemoteAddr() net.Addr               { return pipeAddr{} }
func (e *lineEnd) SetReadDeadline(t time.Time) error  { e.in.limit(reading, t); return nil }
func (e *lineEnd) SetWriteDeadline(t time.Time) error { e.out.limit(writing, t); return nil }
func (e *lineEnd) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}
