package room_test

import (
	"fmt"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A Card is a row of the channel and table "cards".
type Card struct {
	ID     string
	List   string     `den:",index=by_place"`
	Rank   int        `den:",index=by_place,check=rank >= 0"`
	Title  string     `den:",unique"`
	Labels []string   `den:",json"`
	Due    *time.Time // NULL: no time
	room.Stamps
}

type CardRoom struct {
	room.Base
	Cards room.Table[Card]
}

func (r *CardRoom) Add(c *room.Context, in Card) error {
	return r.Cards.Insert(c, in)
}

func (r *CardRoom) Move(c *room.Context, in struct {
	ID, List string
	Rank     int
}) error {
	return r.Cards.Patch(c, in.ID, map[string]any{"list": in.List, "rank": in.Rank})
}

// Titles are those of a list, the first three by rank.
func (r *CardRoom) Titles(c *room.Context, list string) ([]string, error) {
	cards, err := r.Cards.Select(c, room.Selection{
		Where: "list = ?", Args: []any{list}, OrderBy: "rank", Limit: 3,
	})
	titles := []string{}
	for _, card := range cards {
		titles = append(titles, card.Title)
	}
	return titles, err
}

// A Tally is what a query of any SQL is read into, by the names of its columns.
type Tally struct {
	Label string `json:"label"`
	Cards int    `json:"cards"`
}

func (r *CardRoom) Tally(c *room.Context, _ struct{}) ([]Tally, error) {
	return room.Query[Tally](c, `SELECT l.value AS label, count(*) AS cards FROM cards, json_each(cards.labels) l
		WHERE deleted_at IS NULL GROUP BY label ORDER BY label`)
}

// The struct's tags make the table, its indexes and its rules; what the rules refuse is
// a conflict to the client, and leaves nothing behind.
func ExampleTable() {
	t := new(example) // in a test: the *testing.T
	defer t.end()
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("cards", func() room.Handler { return new(CardRoom) },
			room.Action("add", (*CardRoom).Add), room.Action("move", (*CardRoom).Move),
			room.Call("titles", (*CardRoom).Titles), room.Call("tally", (*CardRoom).Tally))
	})
	ann := h.Join("cards", "kitchen", "ann")

	add := func(id, list string, rank int, title string, labels ...string) roomtest.Event {
		return ann.Do("cards", "add", Card{ID: id, List: list, Rank: rank, Title: title, Labels: labels})
	}
	add("1", "todo", 2, "milk", "shop")
	add("2", "todo", 1, "bread", "shop", "bake")
	fmt.Println(string(ann.Do("cards", "titles", "todo").Value))
	fmt.Println(add("3", "todo", 3, "milk").Code, add("3", "todo", -1, "eggs").Code)

	moved := ann.Do("cards", "move", map[string]any{"id": "2", "list": "done", "rank": 1})
	fmt.Println(moved.Rows[0][:6])
	fmt.Println(string(ann.Do("cards", "tally", nil).Value))
	// Output:
	// ["bread","milk"]
	// conflict conflict
	// [2 done 1 bread ["shop","bake"] <nil>]
	// [{"label":"bake","cards":1},{"label":"shop","cards":2}]
}
