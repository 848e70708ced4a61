package edges

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/denrooms/den/room"
)

const namespace = "board"

type (
	// A score is how many actions of a client were applied.
	score struct {
		ID string
		N  int64
		room.Stamps
	}
	// A note is a hostile client's, and large.
	note struct {
		ID   string
		Text string
		room.Stamps
	}
	board struct {
		room.Base
		Scores room.Table[score]
		Notes  room.Table[note]
	}
	request struct {
		ID    string `json:"id"`
		Bytes int    `json:"bytes"`
	}
	answer struct {
		N int64 `json:"n"`
	}
)

func register(h *room.Host) error {
	return h.Register(namespace, func() room.Handler { return new(board) }, room.Presence(),
		room.Call("add", (*board).add),
		room.Call("note", (*board).note),
		room.Call("panic", (*board).panic),
		room.Call("later", (*board).later),
		room.Call("shout", (*board).shout),
	)
}

// add is the honest clients' action.
func (b *board) add(c *room.Context, in request) (answer, error) {
	s, err := b.Scores.Get(c, in.ID)
	if err != nil && !errors.Is(err, room.ErrNotFound) {
		return answer{}, err
	}
	s.ID, s.N = in.ID, s.N+1
	return answer{s.N}, b.Scores.Upsert(c, s)
}

func (b *board) note(c *room.Context, in request) (answer, error) {
	return answer{}, b.Notes.Upsert(c, note{ID: in.ID, Text: strings.Repeat("n", min(max(in.Bytes, 0), 64<<10))})
}

func (b *board) panic(*room.Context, request) (answer, error) { panic("an action that panics") }

func (b *board) later(c *room.Context, in request) (answer, error) {
	err := c.Go(func(ctx context.Context) error { return ctx.Err() }, func(c *room.Context, err error) error {
		_, noted := b.note(c, in)
		return errors.Join(err, noted)
	})
	return answer{}, err
}

func (b *board) shout(c *room.Context, in request) (answer, error) {
	return answer{}, c.Broadcast(room.JSON(map[string]string{"shout": strings.Repeat("s", min(max(in.Bytes, 0), 16<<10))}))
}

func (b *board) OnMessage(*room.Context, room.Message) error { return nil }

func (b *board) OnRequest(c *room.Context, w http.ResponseWriter, r *http.Request) error {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return err
	}
	return fmt.Errorf("%w: there is nothing here", room.ErrNotFound)
}
