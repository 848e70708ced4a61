package room

import (
	"testing"

	"github.com/denrooms/den/hibernate"
)

// What a turn is about to send counts until it has been handed over, a frame for many once.
func TestResultsThatWaitCount(t *testing.T) {
	memory := hibernate.NewMemory(1 << 20)
	l := new(life)
	l.room.memory = memory.Part(1 << 10)
	tr := &turn{room: &l.room}
	one, other := Text("to one").frame, Text("to many").frame
	conns := []*hibernate.Connection{{}, {}, {}}
	tr.send(conns[0], one, other)
	tr.out = append(tr.out, delivery{to: conns, frames: []*hibernate.Frame{other}})
	kept := l.turns.keepWaiting(tr)
	if want := int64(len(one.Wire()) + len(other.Wire())); memory.Used() != want || l.room.memory.Used() != want {
		t.Errorf("what waits counts %d bytes, and %d of the room, want %d", memory.Used(), l.room.memory.Used(), want)
	}
	tr.out = nil // it was handed over, or its turn is lost
	l.turns.dropAll(kept)
	if memory.Used() != 0 {
		t.Errorf("%d bytes count afterwards", memory.Used())
	}
}
