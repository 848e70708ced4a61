package sim

import (
	"context"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// A link is a connection's two ways. What is sent stands in a queue until the driver delivers it; order is kept, and a
// break loses what is in the queues. The server may take its time to notice a break.
type link struct {
	w      *world
	client *client
	name   string // for the trace

	up   []upward
	down []downward

	call    *call // Connect's
	cancel  context.CancelFunc
	session *room.Session // once Connect has returned
	refused error         // what it returned otherwise
	joined  bool          // the client has been told

	broken  bool // nothing comes through any more
	left    bool // the client said good-bye: the server hears it as soon as it has heard the rest
	noticed bool // the server knows
}

// upward is what the client sent: a message, or its answer to a ping.
type upward struct {
	message []byte
	pong    uint64
}

// downward is what the server sent: a message, a ping, or the end.
type downward struct {
	message []byte
	ping    bool
	mark    uint64
	code    int // of a close
	reason  string
}

// Send is the room's: it is called in an actor's run, while the driver waits.
func (l *link) Send(frames ...*hibernate.Frame) {
	if l.broken || l.w.dead() {
		return
	}
	for _, f := range frames {
		l.w.witnessCursor(l.client, f.Payload())
		l.down = append(l.down, downward{message: f.Payload()})
	}
}

// Close is the room's too.
func (l *link) Close(code int, reason string) {
	if l.broken || l.w.dead() {
		return
	}
	l.down = append(l.down, downward{code: code, reason: reason})
}

// ping puts a question behind what is on its way.
func (l *link) ping() {
	if l.session != nil && !l.broken {
		l.down = append(l.down, downward{ping: true, mark: inner.OfSession(l.session).Mark()})
	}
}

// connect begins to bring a client into its room.
func (w *world) connect(c *client) {
	if w.host == nil || c.link != nil {
		return
	}
	if c.speech.stale() {
		c.remount()
	}
	l := &link{w: w, client: c, name: c.name}
	c.link = l
	w.open = append(w.open, l)
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	host := w.host
	w.tracef("%s connects", c.name)
	l.call = w.background(func() error {
		session, err := host.Connect(ctx, c.key(), room.ConnectRequest{ID: c.connection, Identity: c.identity(), Link: l})
		l.session, l.refused = session, err
		return err
	})
	w.wait()
}

// arrive tells a client what became of its attempt to connect.
func (l *link) arrive() {
	l.joined = true
	if l.refused != nil {
		l.w.tracef("%s was refused: %v", l.name, l.refused)
		l.drop()
		return
	}
	if l.client.speech.stale() { // it took that long
		l.client.remount()
		return
	}
	l.w.tracef("%s is in", l.name)
	l.client.opened()
}

// drop breaks the link; the client notices at once.
func (l *link) drop() {
	if l.broken {
		return
	}
	l.broken, l.up, l.down = true, nil, nil
	l.lose()
}

func (l *link) lose() {
	if l.client.link == l {
		l.client.link = nil
		l.client.closed()
	}
}

// leave is the client's good end: it hears no more, and what it has sent arrives.
func (l *link) leave() {
	if l.broken || l.left {
		return
	}
	l.left, l.down = true, nil
	l.lose()
}

// A move is something that may happen next.
type move struct {
	weight int
	do     func()
}

// moves are what may happen with a link.
func (l *link) moves(list []move) []move {
	if l.call.done && !l.joined && !l.left && !l.broken {
		return append(list, move{6, l.arrive})
	}
	if !l.broken && l.session != nil && len(l.up) > 0 {
		list = append(list, move{4, l.deliverUp})
	}
	if !l.broken && !l.left && l.joined && len(l.down) > 0 {
		list = append(list, move{4, l.deliverDown})
	}
	if l.over() && !l.noticed {
		list = append(list, move{1, l.notice})
	}
	return list
}

// over: nothing will come through any more.
func (l *link) over() bool {
	return l.broken || l.left && (l.call.done && l.session == nil || len(l.up) == 0)
}

func (l *link) deliverUp() {
	next := l.up[0]
	l.up = l.up[1:]
	if next.message == nil {
		inner.OfSession(l.session).Confirm(next.pong)
		return
	}
	l.w.tracef("%s → %s", l.name, next.message)
	if err := l.session.Receive(next.message, false); err != nil {
		l.w.tracef("%s: %v", l.name, err)
	}
	l.w.wait()
}

func (l *link) deliverDown() {
	next := l.down[0]
	l.down = l.down[1:]
	switch {
	case next.ping:
		l.up = append(l.up, upward{pong: next.mark})
	case next.message != nil:
		l.w.tracef("%s ← %s", l.name, next.message)
		l.w.hear(l.client, next.message)
		l.client.receive(next.message)
	default:
		l.w.tracef("%s: closed with %d %s", l.name, next.code, next.reason)
		l.drop()
	}
}

// notice tells the server that the link is over.
func (l *link) notice() {
	l.noticed = true
	l.w.tracef("%s: the server notices", l.name)
	if !l.call.done {
		l.cancel()
		l.w.wait()
		return
	}
	if l.session != nil {
		code := 1006
		if l.left {
			code = 1001
		}
		l.session.Close(code, "")
		l.w.wait()
	}
}
