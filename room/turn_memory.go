package room

import (
	"slices"

	"github.com/denrooms/den/hibernate"
)

// Most turns serve one message. So the turns of a life use the same memory, one after the other, for the
// answers and the deliveries, which nobody has when the turn has ended.

// maxTurnMemory is how many answers, and how many deliveries, a life keeps memory for: 10 KB.
const maxTurnMemory = 64

// turnMemory is that memory. Nothing is in it between turns. It is owned by the life's actor.
type turnMemory struct {
	answers []answer
	out     []delivery
	kept    []*hibernate.Frame // see memory.go
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

// give has a turn that serves n messages use the memory.
func (m *turnMemory) give(t *turn, n int) {
	t.answers, t.out = slices.Grow(m.answers, n), slices.Grow(m.out, n)
	m.answers, m.out = nil, nil
}

// takeAnswers takes back what a turn has used for its answers. They were given or copied.
func (m *turnMemory) takeAnswers(t *turn) {
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

// emptied lets go of all that is in the slice's memory.
func emptied[T any](s []T) []T {
	clear(s[:cap(s)])
	return s[:0]
}
