package room

import (
	"slices"

	"github.com/denrooms/den/hibernate"
)

// A delivery is something that leaves the room when the gate opens.
type delivery struct {
	to     []*hibernate.Connection
	except *hibernate.Connection // one of them that is left out
	frames []*hibernate.Frame
	code   int // not 0: the connections are closed behind the frames
	reason string
}

// deliver hands out a turn's deliveries, in order for each connection. Where many
// connections get the same frames, as in a broadcast, each link gets all of its
// frames in one call, and the same slice.
func deliver(out []delivery) {
	for len(out) > 0 {
		n := 1 // as many as go to the same audience, or to single connections
		audience := out[0].to
		for n < len(out) && (len(out[n].to) <= 1 || len(audience) <= 1 || same(audience, out[n].to)) {
			if len(audience) <= 1 {
				audience = out[n].to
			}
			n++
		}
		deliverTo(audience, out[:n])
		out = out[n:]
	}
}

func same(a, b []*hibernate.Connection) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// deliverTo hands out deliveries that go either to the whole audience or to one
// connection.
func deliverTo(audience []*hibernate.Connection, out []delivery) {
	special := make(map[*hibernate.Connection]bool) // those that do not get just the shared frames
	var order []*hibernate.Connection               // the special ones, as they came
	mark := func(c *hibernate.Connection) {
		if !special[c] {
			special[c] = true
			order = append(order, c)
		}
	}
	var shared []*hibernate.Frame
	for _, d := range out {
		if len(d.to) == 1 {
			mark(d.to[0])
			if len(audience) > 1 {
				continue
			}
		}
		if d.except != nil {
			mark(d.except)
		}
		if d.code != 0 {
			for _, c := range d.to {
				mark(c)
			}
		}
		shared = append(shared, d.frames...)
	}
	if len(shared) > 0 {
		for _, c := range audience {
			if !special[c] {
				c.Link.Send(shared...)
			}
		}
	}
	for _, c := range order {
		deliverOne(c, audience, out)
	}
}

// deliverOne hands a connection what is its own of the deliveries.
func deliverOne(c *hibernate.Connection, audience []*hibernate.Connection, out []delivery) {
	member := slices.Contains(audience, c)
	var frames []*hibernate.Frame
	for _, d := range out {
		mine := len(d.to) == 1 && d.to[0] == c || len(d.to) > 1 && member
		if !mine || d.except == c {
			continue
		}
		frames = append(frames, d.frames...)
		if d.code != 0 {
			c.Link.Send(frames...)
			c.Link.Close(d.code, d.reason)
			return
		}
	}
	if len(frames) > 0 {
		c.Link.Send(frames...)
	}
}
