package room

import (
	"testing"

	"github.com/denrooms/den/hibernate"
)

// The turns of a life use one memory up to its limit, with nothing of an earlier turn in it, and let go of more.
func TestTurnMemory(t *testing.T) {
	for size, kept := range map[int]bool{1: true, maxTurnMemory: true, maxTurnMemory + 1: false} {
		want := 0
		if kept {
			want = size
		}
		var m turnMemory
		used := turn{
			answers: append(make([]answer, 0, size), answer{late: true}),
			out:     append(make([]delivery, 0, size), delivery{to: make([]*hibernate.Connection, 1)}),
		}
		m.giveKept(append(make([]*hibernate.Frame, 0, size), new(hibernate.Frame)))
		m.takeAnswers(&used)
		m.takeOut(&used)
		if used.answers != nil || used.out != nil {
			t.Errorf("%d: the turn that has ended has its memory still", size)
		}
		frames := m.takeKept()
		if cap(m.answers) != want || cap(m.out) != want || cap(frames) != want {
			t.Errorf("%d: memory for %d answers, %d deliveries, %d frames is kept, want %d", size, cap(m.answers), cap(m.out), cap(frames), want)
			continue
		}
		if kept && (m.answers[:1][0].late || m.out[:1][0].to != nil || frames[:1][0] != nil) {
			t.Errorf("%d: something of the turn is in its memory still", size)
		}
		var next turn
		m.give(&next, 1)
		if len(next.answers) != 0 || len(next.out) != 0 || cap(next.answers) < 1 || kept && cap(next.answers) != size {
			t.Errorf("%d: the next turn has room for %d answers", size, cap(next.answers))
		}
	}
}
