package hibernate

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// Bytes that are taken of a part are taken of the whole, what would pass either limit is refused and takes nothing,
// and what cannot be refused passes them.
func TestMemoryLimits(t *testing.T) {
	whole := NewMemory(100)
	part := whole.Part(40)
	check := func(step string, ofPart, ofWhole, free int64) {
		t.Helper()
		if part.Used() != ofPart || whole.Used() != ofWhole || part.Free() != free {
			t.Errorf("%s: the part has %d, the whole %d, free are %d; want %d, %d, %d", step, part.Used(), whole.Used(), part.Free(), ofPart, ofWhole, free)
		}
	}
	if err := part.Admit(30); err != nil {
		t.Fatal(err)
	}
	check("30 admitted", 30, 30, 10)
	if err := part.Admit(11); !errors.Is(err, ErrMemory) {
		t.Errorf("over the part's limit: %v", err)
	}
	check("11 refused", 30, 30, 10)
	whole.Take(65)
	check("65 of the whole", 30, 95, 5)
	if err := part.Admit(6); !errors.Is(err, ErrMemory) {
		t.Errorf("over the limit of the whole: %v", err)
	}
	check("6 refused", 30, 95, 5)
	part.Take(20)
	check("20 taken over the limits", 50, 115, 0)
	part.Give(50)
	whole.Give(65)
	check("all given back", 0, 0, 40)
	var none *Memory
	none.Take(1)
	if err := none.Admit(1 << 40); err != nil || none.Used() != 0 {
		t.Errorf("a nil Memory refuses or counts: %v, %d", err, none.Used())
	}
	if whole.Limit() != 100 || part.Limit() != 40 || none.Limit() != math.MaxInt64 || none.Free() != math.MaxInt64 {
		t.Errorf("limits %d, %d, %d", whole.Limit(), part.Limit(), none.Limit())
	}
	if err := part.Admit(40); err != nil {
		t.Errorf("up to the limit: %v", err)
	}
}

// A frame that was kept has the room of where it counts, and another one that of where it is about to.
func TestMemoryRoomOfAFrame(t *testing.T) {
	first, other := NewMemory(100), NewMemory(200)
	frame := BinaryFrame(make([]byte, 8))
	if got := frame.Room(other); got != 200 {
		t.Errorf("before it is kept: %d", got)
	}
	frame.Keep(first)
	frame.Keep(other)
	if got := frame.Room(other); got != 90 {
		t.Errorf("while it is kept: %d", got)
	}
	frame.Drop()
	frame.Drop()
	if got := frame.Room(other); got != 100 {
		t.Errorf("after that: %d", got)
	}
	frame.Keep(nil)
	if first.Used() != 10 {
		t.Errorf("kept again it counts %d where it did first", first.Used())
	}
}

// A frame that waits in many places counts once, and for one Memory, whichever they are and in whatever order they come and go.
func TestMemoryOfFrames(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	whole := NewMemory(1 << 30)
	parts := []*Memory{whole.Part(1 << 20), whole.Part(1 << 20), whole, nil}
	frame := BinaryFrame(make([]byte, 1000))
	frame.Keep(parts[0])
	frame.Keep(parts[1])
	if size := int64(len(frame.Wire())); whole.Used() != size || parts[0].Used() != size || parts[1].Used() != 0 {
		t.Errorf("a frame of %d bytes in two queues counts %d, %d, %d", size, whole.Used(), parts[0].Used(), parts[1].Used())
	}
	frame.Drop()
	if whole.Used() == 0 {
		t.Error("a frame that still waits in one queue does not count")
	}
	frame.Drop()
	frames := []*Frame{frame, BinaryFrame(make([]byte, 10)), BinaryFrame(make([]byte, 100_000))}
	var group sync.WaitGroup
	for seed := range uint64(8) {
		own := rand.New(rand.NewPCG(seed, rnd.Uint64()))
		group.Go(func() {
			for range 2000 {
				f := frames[own.IntN(len(frames))]
				f.Keep(parts[own.IntN(len(parts))])
				f.Drop()
			}
		})
	}
	group.Wait()
	for i, m := range parts {
		if m.Used() != 0 {
			t.Errorf("%d bytes of part %d were not given back", m.Used(), i)
		}
	}
}
