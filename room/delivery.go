package room

import (
	"runtime/debug"
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/syncproto"
)

// A delivery is something that leaves the room when the gate opens.
type delivery struct {
	to     []*hibernate.Connection
	except *hibernate.Connection // one of them that is left out
	frames []*hibernate.Frame
	code   int // not 0: the connections are closed after the frames
	reason string
}

// A courier delivers what leaves a room. A Link may be a program's own. If one panics, its connection has lost a
// message and is closed; the others get theirs, and the batch stays applied.
type courier struct {
	panicked func(c *hibernate.Connection, value any, stack []byte)
}

// send passes frames to a connection's link.
func (d courier) send(c *hibernate.Connection, frames ...*hibernate.Frame) {
	defer func() {
		if v := recover(); v != nil {
			d.panicked(c, v, debug.Stack())
			d.close(c, syncproto.CloseInternal, string(syncproto.CodeActionFailed))
		}
	}()
	c.Link.Send(frames...)
}

// close closes a connection's link.
func (d courier) close(c *hibernate.Connection, code int, reason string) {
	defer func() {
		if v := recover(); v != nil {
			d.panicked(c, v, debug.Stack())
		}
	}()
	c.Link.Close(code, reason)
}

// deliver makes a turn's deliveries, in order for each connection. If many connections get the same frames, as in a
// broadcast, each link gets all of its frames in one call, and in the same slice.
func (d courier) deliver(out []delivery) {
	for len(out) > 0 {
		n := 1 // how many go to the same audience or to single connections
		audience := out[0].to
		for n < len(out) && (len(out[n].to) <= 1 || len(audience) <= 1 || same(audience, out[n].to)) {
			if len(audience) <= 1 {
				audience = out[n].to
			}
			n++
		}
		d.deliverTo(audience, out[:n])
		out = out[n:]
	}
}

func same(a, b []*hibernate.Connection) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// deliverTo makes deliveries that go either to the whole audience or to one connection.
func (d courier) deliverTo(audience []*hibernate.Connection, out []delivery) {
	special := make(map[*hibernate.Connection]bool) // those that get something else than the shared frames
	var order []*hibernate.Connection               // the special ones, in the order in which they came
	mark := func(c *hibernate.Connection) {
		if !special[c] {
			special[c] = true
			order = append(order, c)
		}
	}
	var shared []*hibernate.Frame
	for _, one := range out {
		if len(one.to) == 1 {
			mark(one.to[0])
			if len(audience) > 1 {
				continue
			}
		}
		if one.except != nil {
			mark(one.except)
		}
		if one.code != 0 {
			for _, c := range one.to {
				mark(c)
			}
		}
		shared = append(shared, one.frames...)
	}
	for _, c := range audience {
		if !special[c] {
			d.send(c, shared...)
		}
	}
	for _, c := range order {
		d.deliverOne(c, audience, out)
	}
}

// deliverOne delivers what one connection gets.
func (d courier) deliverOne(c *hibernate.Connection, audience []*hibernate.Connection, out []delivery) {
	member := slices.Contains(audience, c)
	var frames []*hibernate.Frame
	for _, one := range out {
		mine := len(one.to) == 1 && one.to[0] == c || len(one.to) > 1 && member
		if !mine || one.except == c {
			continue
		}
		frames = append(frames, one.frames...)
		if one.code != 0 {
			d.send(c, frames...)
			d.close(c, one.code, one.reason)
			return
		}
	}
	if len(frames) > 0 {
		d.send(c, frames...)
	}
}

// reset returns the frame before an answer that replaces what the client has.
func reset(channel string, why syncproto.Reset) *hibernate.Frame {
	return hibernate.TextFrame(128, func(dst []byte) []byte { return syncproto.AppendSyncReset(dst, channel, why) })
}

// exception returns a frame that says what is wrong with a channel.
func exception(channel string, err error) *hibernate.Frame {
	code, text := ErrorCode(err)
	return hibernate.TextFrame(256, func(dst []byte) []byte {
		return syncproto.AppendChannelException(dst, channel, code, text)
	})
}

func deleteAll(channel, cursor string) *hibernate.Frame {
	return hibernate.TextFrame(192, func(dst []byte) []byte { return syncproto.AppendDeleteAll(dst, channel, cursor) })
}

// drained reports whether so little waits in a link that the next step may follow. It is true for a link that cannot
// say how much waits.
func drained(link hibernate.Link) bool {
	queue, says := link.(interface{ Waiting() int })
	return !says || queue.Waiting() <= 3*pages.TurnBytes
}

// drainPause is how long the next step of a snapshot waits for the client to read.
const drainPause = 5 * time.Millisecond

// closeGoingAway is the close code of sockets at a shutdown.
const closeGoingAway = 1001

// goingAway is the close reason of sockets at a shutdown.
const goingAway = "server is shutting down"
