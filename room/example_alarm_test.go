package room_test

import (
	"fmt"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

type Bid struct {
	ID     string
	Amount int
	room.Stamps
}

type Auction struct {
	room.Base
	Bids room.Table[Bid]
}

// Offer sets the end again with each bid: a minute after it.
func (a *Auction) Offer(c *room.Context, in Bid) error {
	if err := a.Bids.Insert(c, Bid{ID: c.NewID(), Amount: in.Amount}); err != nil {
		return err
	}
	return c.SetAlarm("end", c.Now().Add(time.Minute))
}

func (a *Auction) OnAlarm(c *room.Context, alarm room.Alarm) error {
	var best int
	if err := c.QueryRow("SELECT max(amount) FROM bids", nil, &best); err != nil {
		return err
	}
	fmt.Printf("%s at %s: sold for %d\n", alarm.Name, alarm.Due.Format(time.TimeOnly), best)
	return nil
}

// A room wakes for its alarms, whether or not anybody is there.
func ExampleContext_SetAlarm() {
	t := new(example)
	defer t.end()

	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("auctions", func() room.Handler { return new(Auction) }, room.Action("offer", (*Auction).Offer))
	})
	alice := h.Join("auctions", "vase", "alice")
	alice.Do("bids", "offer", map[string]any{"amount": 10})
	h.Advance(30 * time.Second)
	alice.Do("bids", "offer", map[string]any{"amount": 12})
	alice.Leave()
	h.SleepRoom("auctions", "vase") // nothing of it is in memory
	h.Advance(time.Hour)
	// Output: end at 12:01:30: sold for 12
}
