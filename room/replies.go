package room

import (
	"container/list"

	"github.com/denrooms/den/hibernate"
)

// replies remembers what actions were answered with, so that an action that comes
// again (its client lost the reply, and sent it once more) is answered again and
// not applied again. It belongs to one life and forgets the oldest first.
type replies struct {
	limit int // bytes
	size  int
	known map[replyKey]*list.Element
	order list.List // of *storedReply, the oldest in front
}

// replyKey names an action: a client's id for it, under the connection id and the
// subject that it came from.
type replyKey struct{ conn, subject, id string }

type storedReply struct {
	key    replyKey
	digest uint64
	frame  *hibernate.Frame
}

type replyState int

const (
	replyNone  replyState = iota // not seen before
	replyOther                   // the id was used for another action
	replySame                    // here is its reply
)

// replyOverhead is what a remembered reply costs besides its frame, about.
const replyOverhead = 256

func keyOf(m *actionMessage) replyKey {
	return replyKey{m.conn.ID, m.conn.Identity.Subject, m.id}
}

func (r *replies) find(m *actionMessage) (*hibernate.Frame, replyState) {
	e := r.known[keyOf(m)]
	if e == nil {
		return nil, replyNone
	}
	stored := e.Value.(*storedReply)
	if stored.digest != m.digest {
		return nil, replyOther
	}
	return stored.frame, replySame
}

func (r *replies) remember(m *actionMessage, frame *hibernate.Frame) {
	if r.known == nil {
		r.known = make(map[replyKey]*list.Element)
	}
	stored := &storedReply{key: keyOf(m), digest: m.digest, frame: frame}
	r.known[stored.key] = r.order.PushBack(stored)
	r.size += stored.bytes()
	for r.size > r.limit && r.order.Len() > 1 {
		r.drop(r.order.Front())
	}
}

// forget takes back what remember did.
func (r *replies) forget(m *actionMessage) {
	if e := r.known[keyOf(m)]; e != nil {
		r.drop(e)
	}
}

func (r *replies) drop(e *list.Element) {
	stored := r.order.Remove(e).(*storedReply)
	delete(r.known, stored.key)
	r.size -= stored.bytes()
}

func (s *storedReply) bytes() int { return len(s.frame.Wire()) + replyOverhead }
