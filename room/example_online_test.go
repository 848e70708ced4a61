package room_test

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// Lobby is a room that knows who is online.
type Lobby struct {
	room.Base
	Online room.Table[Guest]
}

// Guest is somebody who is online.
type Guest struct {
	ID string
	room.Stamps
}

// OnConnect lists the client. One that comes back after a crash may be in the list still.
func (l *Lobby) OnConnect(c *room.Context) error {
	return l.Online.Upsert(c, Guest{ID: c.Conn().ID()})
}

// OnClose runs for each client that was listed, also after a deploy and a crash.
func (l *Lobby) OnClose(c *room.Context, _ int, _ string) error {
	for _, other := range c.Connections() {
		if other.ID() == c.Conn().ID() {
			return nil // it is here with another connection
		}
	}
	err := l.Online.Delete(c, c.Conn().ID())
	if errors.Is(err, room.ErrNotFound) {
		return nil
	}
	return err
}

func ExampleCloseHandler() {
	t := new(example) // in a test: the *testing.T
	defer t.end()
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("lobby", func() room.Handler { return new(Lobby) })
	})
	h.Join("lobby", "main", "ann")
	bob := h.Join("lobby", "main", "bob")
	fmt.Println(ids(bob.Sync("online")))
	h.Reopen() // a deploy: all are closed
	bob = h.Join("lobby", "main", "bob")
	fmt.Println(ids(bob.Sync("online")))

	// Output:
	// ann bob
	// bob
}
