package room

import (
	"math/bits"

	"github.com/denrooms/den/hibernate"
)

// Most turns serve one message. So the turns of a life use the same memory, one after another, for answers and
// deliveries. Nobody refers to it after the turn has ended.

// keepWaiting counts the frames that the turn is about to send, which wait for the commit. The caller drops them
// after they have been delivered, or not.
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

// maxTurnMemory is how many answers, and how many deliveries, a life keeps memory for: 17 KB in a busy room.
const maxTurnMemory = 128

// turnMemory is that memory. It is empty between turns. The life's actor owns it.
type turnMemory struct {
	answers []answer
	out     []delivery
	kept    []*hibernate.Frame // frames that count for the room's memory

	messages int // how many the last turn served
}

// give lets a turn use the memory. The turn will serve at least n messages, usually as many as the last one.
func (m *turnMemory) give(t *turn, n int) {
	if n = max(n, m.messages); n > 8 {
		n = min(1<<bits.Len(uint(n-1)), maxTurnMemory)
	}
	t.answers, t.out = withRoom(m.answers, n), withRoom(m.out, n)
	m.answers, m.out = nil, nil
}

// takeKept returns memory for the frames that a turn counts.
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

// takeAnswers takes back the memory of a turn's answers. They have been given or copied.
func (m *turnMemory) takeAnswers(t *turn) {
	m.messages = len(t.answers)
	if cap(t.answers) <= maxTurnMemory {
		m.answers = emptied(t.answers)
	}
	t.answers = nil
}

// takeOut takes back the memory of a turn's deliveries. They have been delivered.
func (m *turnMemory) takeOut(t *turn) {
	if cap(t.out) <= maxTurnMemory {
		m.out = emptied(t.out)
	}
	t.out = nil
}

// withRoom returns an empty slice with room for n. A new one has exactly n: a slice that append makes may be too long
// to be kept.
func withRoom[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s
	}
	return make([]T, 0, n)
}

// emptied clears the slice's memory.
func emptied[T any](s []T) []T {
	clear(s[:cap(s)])
	return s[:0]
}
