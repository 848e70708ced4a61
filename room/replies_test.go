package room_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A keeper tells what its room keeps of replies.
type keeper struct {
	room.Base
	Notes room.Table[keeperNote]
}

type keeperNote struct {
	ID, Text string
	room.Stamps
}

func (k *keeper) Put(c *room.Context, in keeperNote) error { return k.Notes.Upsert(c, in) }

// keptReplies are what a room keeps: rows, bytes of replies, and the oldest row's number.
type keptReplies struct{ Rows, Bytes, Oldest int64 }

func (k *keeper) Kept(c *room.Context, _ struct{}) (kept keptReplies, err error) {
	err = c.QueryRow(`SELECT count(*), sum(length(replies)), min(n) FROM _den_replies`, nil, &kept.Rows, &kept.Bytes, &kept.Oldest)
	return kept, err
}

// Replies that are too many or too old go, the oldest first, and those that stay are given again.
// Short and long ones alternate, so that a step of the removal meets both.
func TestInvariantBoundedReplies(t *testing.T) {
	const limit = 40_000
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("keep", func() room.Handler { return new(keeper) },
			room.Action("put", (*keeper).Put), room.Call("kept", (*keeper).Kept))
	}, func(o *room.Options) { o.ReplyMemory = limit })
	alice := h.Join("keep", "r", "alice")
	note := func(n int) object {
		return object{"ID": "1", "Text": fmt.Sprintf("%0*d", 1+n%50*40, n)}
	}
	kept := func(c *roomtest.Client) (kept keptReplies) {
		t.Helper()
		if err := json.Unmarshal(mustSucceed(t, c.Do("notes", "kept", object{})).Value, &kept); err != nil {
			t.Fatal(err)
		}
		return kept
	}
	var replies [][]byte
	for n := range 300 {
		replies = append(replies, mustSucceed(t, alice.DoAs(fmt.Sprint("a", n), "notes", "put", note(n))).Data)
		if k := kept(alice); k.Bytes > limit*5/4 || n > 100 && k.Bytes < limit/2 {
			t.Fatalf("behind action %d: %d bytes in %d rows are kept, %d are wanted", n, k.Bytes, k.Rows, limit)
		}
	}
	h.CrashRoom("keep", "r")
	again := h.Join("keep", "r", "alice").DoAs("a299", "notes", "put", note(299))
	if string(again.Data) != string(replies[299]) {
		t.Errorf("again: %s, first %s", again.Data, replies[299])
	}

	h.Advance(8 * 24 * time.Hour)
	bob := h.Join("keep", "r", "bob")
	newest := kept(bob)
	for n := range newest.Rows {
		mustSucceed(t, bob.DoAs(fmt.Sprint("b", n), "notes", "put", object{"ID": "1", "Text": fmt.Sprint(n)}))
	}
	if k := kept(bob); k.Oldest < newest.Oldest+newest.Rows {
		t.Errorf("replies of eight days ago are kept: the oldest is %d", k.Oldest)
	}
}
