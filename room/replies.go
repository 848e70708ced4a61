package room

import "github.com/denrooms/den/hibernate"

// replies remembers what actions were answered with, so that an action that comes
// again (its client lost the reply, and sent it once more) is answered again and
// not applied again. It belongs to one life and forgets the oldest first.
type replies struct {
	limit int // bytes
	size  int
	known map[uint64]storedReply
	order []uint64 // the oldest at first; those that were forgotten may stand here still
	first int
}

// A reply is known by a hash of the connection id, the subject and the client's id of
// the action, made with a seed of the process's own: that two of the few thousand that
// a room remembers are alike will not happen, and would be refused as duplicate_id.
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

func (r *replies) find(m *actionMessage) (*hibernate.Frame, replyState) {
	stored, there := r.known[m.key]
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
		r.known = make(map[uint64]storedReply)
	}
	r.known[m.key] = storedReply{digest: m.digest, frame: frame}
	r.size += cost(frame)
	if r.first > len(r.order)/2 && len(r.order) == cap(r.order) {
		r.order = append(r.order[:0], r.order[r.first:]...)
		r.first = 0
	}
	r.order = append(r.order, m.key)
	for r.size > r.limit && r.first < len(r.order)-1 {
		r.drop(r.order[r.first])
		r.first++
	}
}

// forget takes back what remember did; of several, the last first.
func (r *replies) forget(m *actionMessage) {
	r.drop(m.key)
	if n := len(r.order) - 1; n >= r.first && r.order[n] == m.key {
		r.order = r.order[:n]
	}
}

func (r *replies) drop(key uint64) {
	if stored, there := r.known[key]; there {
		delete(r.known, key)
		r.size -= cost(stored.frame)
	}
}

func cost(f *hibernate.Frame) int { return len(f.Wire()) + replyOverhead }
