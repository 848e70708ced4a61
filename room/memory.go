package room

import (
	"math/bits"

	"github.com/denrooms/den/hibernate"
)

// Most turns serve one message. So the turns of a life use the same memory, one after the other, for the
// answers and the deliveries, which nobody has when the turn has ended.

// keepWaiting counts what the turn is about to send, which waits for the commit. The frames are to be dropped when
// they have been handed over, or not.
func (m *turnMemory) keepWaiting(t *turn) []*hibernate.Frame {
	kept := m.takeKept()
	for _, one := range t.out {
		for _, f := range one.frames {
			f.Keep(t.room.memory)
			kept = append(kept, f)
		}
	}
	return kept
}

func (m *turnMemory) dropAll(kept []*hibernate.Frame) {
	for _, f := range kept {
		f.Drop()
	}
	m.giveKept(kept)
}

// maxTurnMemory is how many answers, and how many deliveries, a life keeps memory for: 17 KB, in a room that is so busy.
const maxTurnMemory = 128

// turnMemory is that memory. Nothing is in it between turns. It is owned by the life's actor.
type turnMemory struct {
	answers []answer
	out     []delivery
	kept    []*hibernate.Frame // frames that count for the memory of the room

	messages int // how many the last turn served
}

// give has a turn use the memory. It will serve n messages at least, and most often as many as the last one.
func (m *turnMemory) give(t *turn, n int) {
	if n = max(n, m.messages); n > 8 {
		n = min(1<<bits.Len(uint(n-1)), maxTurnMemory)
	}
	t.answers, t.out = withRoom(m.answers, n), withRoom(m.out, n)
	m.answers, m.out = nil, nil
}

// takeKept gives memory for the frames that a turn counts.
func (m *turnMemory) takeKept() []*hibernate.Frame {
	kept := m.kept
	m.kept = nil
	return kept
}

func (m *turnMemory) giveKept(kept []*hibernate.Frame) {
	if cap(kept) <= maxTurnMemory {
		m.kept = emptied(kept)
	}
}

// takeAnswers takes back what a turn has used for its answers. They were given or copied.
func (m *turnMemory) takeAnswers(t *turn) {
	m.messages = len(t.answers)
	if cap(t.answers) <= maxTurnMemory {
		m.answers = emptied(t.answers)
	}
	t.answers = nil
}

// takeOut takes back what a turn has used for its deliveries. They were handed out.
func (m *turnMemory) takeOut(t *turn) {
	if cap(t.out) <= maxTurnMemory {
		m.out = emptied(t.out)
	}
	t.out = nil
}

// withRoom is an empty slice with room for n. That of a new one is exactly n: what append makes can be too long to be kept.
func withRoom[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s
	}
	return make([]T, 0, n)
}

// emptied lets go of all that is in the slice's memory.
func emptied[T any](s []T) []T {
	clear(s[:cap(s)])
	return s[:0]
}
