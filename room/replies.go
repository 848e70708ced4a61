package room

import "github.com/denrooms/den/hibernate"

// replies remembers what actions were answered with, so that an action that comes
// again (its client lost the reply, and sent it once more) is answered again and
// not applied again. It belongs to one life and forgets the oldest first.
type replies struct {
	limit int // bytes
	size  int
	known map[replyKey]storedReply
	order []replyKey // the oldest at first; those that were forgotten may stand here still
	first int
}

// replyKey names an action: a client's id for it, under the connection id and the
// subject that it came from.
type replyKey struct{ conn, subject, id string }

type storedReply struct {
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
	stored, there := r.known[keyOf(m)]
	switch {
	case !there:
		return nil, replyNone
	case stored.digest != m.digest:
		return nil, replyOther
	}
	return stored.frame, replySame
}

func (r *replies) remember(m *actionMessage, frame *hibernate.Frame) {
	if r.known == nil {
		r.known = make(map[replyKey]storedReply)
	}
	key := keyOf(m)
	r.known[key] = storedReply{digest: m.digest, frame: frame}
	r.size += cost(frame)
	if r.first > len(r.order)/2 && len(r.order) == cap(r.order) {
		r.order = append(r.order[:0], r.order[r.first:]...)
		r.first = 0
	}
	r.order = append(r.order, key)
	for r.size > r.limit && r.first < len(r.order)-1 {
		r.drop(r.order[r.first])
		r.order[r.first] = replyKey{}
		r.first++
	}
}

// forget takes back what remember did; of several, the last first.
func (r *replies) forget(m *actionMessage) {
	key := keyOf(m)
	r.drop(key)
	if n := len(r.order) - 1; n >= r.first && r.order[n] == key {
		r.order = r.order[:n]
	}
}

func (r *replies) drop(key replyKey) {
	if stored, there := r.known[key]; there {
		delete(r.known, key)
		r.size -= cost(stored.frame)
	}
}

func cost(f *hibernate.Frame) int { return len(f.Wire()) + replyOverhead }
