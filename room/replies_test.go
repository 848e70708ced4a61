package room_test

import (
	"encoding/binary"
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
	err = c.QueryRow(`SELECT count(*), sum(length(replies)), min(n) FROM _den_replies WHERE n > 0`, nil, &kept.Rows, &kept.Bytes, &kept.Oldest)
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

// keptIndex is what a room's index of its replies says of itself.
type keptIndex struct {
	Newest int64  // the newest row of replies
	Parts  int64  // parts of the index
	First  int64  // the newest part's first row
	Text   []byte // the newest part
}

func (k *keeper) Index(c *room.Context, _ struct{}) (x keptIndex, err error) {
	err = c.QueryRow(`SELECT (SELECT max(n) FROM _den_replies), count(*), -n, replies FROM _den_replies
		WHERE n < 0 ORDER BY n LIMIT 1`, nil, &x.Newest, &x.Parts, &x.First, &x.Text)
	if err == nil {
		err = c.QueryRow(`SELECT count(*) FROM _den_replies WHERE n < 0`, nil, &x.Parts)
	}
	return x, err
}

// A room with a long history knows each reply that it keeps, whatever the number of lives since; and what
// is not in the index, which a life that begins has to read, stays short.
func TestInvariantExactlyOnceLongHistory(t *testing.T) {
	const actions, limit = 1500, 250_000
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("keep", func() room.Handler { return new(keeper) },
			room.Action("put", (*keeper).Put), room.Call("index", (*keeper).Index))
	}, func(o *room.Options) { o.ReplyMemory = limit })
	alice := h.Join("keep", "r", "alice")
	replies := make(map[int][]byte)
	do := func(n int) []byte {
		return alice.DoAs(fmt.Sprint("a", n), "notes", "put", object{"ID": fmt.Sprint(n % 10), "Text": fmt.Sprint(n)}).Data
	}
	same := func(n int) {
		t.Helper()
		if again := do(n); string(again) != string(replies[n]) {
			t.Fatalf("action %d again: %s, first %s", n, again, replies[n])
		}
		alice.Received() // what has become of the channel since
	}
	for n := range actions {
		replies[n] = do(n)
		switch {
		case n%97 == 96:
			h.SleepRoom("keep", "r")
		case n%251 == 250:
			h.CrashRoom("keep", "r")
		default:
			continue
		}
		for _, back := range []int{0, 1, 20, 50, 96, 500, 1000} {
			if n >= back {
				same(n - back)
			}
		}
		var x keptIndex
		if err := json.Unmarshal(mustSucceed(t, alice.DoAs(fmt.Sprint("x", n), "notes", "index", object{})).Value, &x); err != nil {
			t.Fatal(err)
		}
		rows, _ := binary.Uvarint(x.Text[1:])
		if tail := x.Newest - (x.First + int64(rows) - 1); tail > 33 {
			t.Fatalf("behind %d actions: a life that begins has to read %d rows of replies", n, tail)
		}
		if n > 1400 && (x.Parts < 2 || x.Parts > 6) {
			t.Fatalf("behind %d actions: %d parts", n, x.Parts)
		}
	}
	h.CrashRoom("keep", "r")
	known := 0 // from the newest down, and not those alone at which somebody looked
	for n := actions - 1; n >= 0 && string(do(n)) == string(replies[n]); n-- {
		alice.Received()
		known++
	}
	if known < 1300 { // that is what the limit has room for at least
		t.Errorf("of %d replies the room knows the last %d", actions, known)
	}
}
