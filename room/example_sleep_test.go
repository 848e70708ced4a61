package room_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// Visitors counts in memory, and writes the count down before it sleeps.
type Visitors struct {
	room.Base
	Counts room.Table[VisitorCount]

	seen int
}

type VisitorCount struct {
	ID   string
	Seen int
	room.Stamps
}

func (v *Visitors) OnWake(c *room.Context) error {
	fmt.Println("woken for a", c.WakeReason())
	count, err := v.Counts.Get(c, "all")
	if errors.Is(err, room.ErrNotFound) { // the last life ended in a crash: nothing was written down
		return nil
	}
	v.seen = count.Seen
	return err
}

func (v *Visitors) OnHibernate(c *room.Context) error {
	fmt.Println("good night")
	return v.Counts.Upsert(c, VisitorCount{ID: "all", Seen: v.seen})
}

func (v *Visitors) OnConnect(*room.Context) error { v.seen++; return nil }

func (v *Visitors) Seen(*room.Context, struct{}) (int, error) { return v.seen, nil }

// A room that has nothing to do for ten seconds is put to sleep. Its clients stay connected, and
// the next message wakes it.
func ExampleHandler_sleep() {
	t := new(example) // in a test: the *testing.T
	defer t.end()
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("museum", func() room.Handler { return new(Visitors) }, room.Call("seen", (*Visitors).Seen))
	})
	ann := h.Join("museum", "east", "ann")
	h.Join("museum", "east", "bob")
	h.Advance(10 * time.Second)
	fmt.Println(h.Awake(), "rooms awake,", h.Connections(), "connections")
	fmt.Println("seen:", string(ann.Do("counts", "seen", nil).Value))

	// Output:
	// good night
	// 0 rooms awake, 2 connections
	// woken for a message
	// seen: 2
	// good night
}
