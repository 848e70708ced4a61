package bench

// What it costs to come back.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/denrooms/den/room"
)

// shelf is a room with a table of any size, that SQL fills.
type shelf struct{ room.Base }

const shelves = "shelves"

func registerShelf(h *room.Host) error {
	return h.Register(shelves, func() room.Handler { return new(shelf) },
		room.Synced("items"),
		room.Action("fill", (*shelf).fill),
		room.Action("touch", (*shelf).touch),
	)
}

// OnStart makes the table.
func (*shelf) OnStart(c *room.Context) error {
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, text TEXT NOT NULL,
		created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER) STRICT`)
	return err
}

func (*shelf) fill(c *room.Context, in struct{ From, To int64 }) error {
	_, err := c.Exec(`INSERT INTO items WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2)
		SELECT i, 'an item with a text of a common length, number ' || i, ?3, ?3, NULL FROM n`, in.From, in.To, c.Now())
	return err
}

func (*shelf) touch(c *room.Context, in struct{ ID int64 }) error {
	_, err := c.Exec(`UPDATE items SET text = text || '.', updated_at = ?2 WHERE id = ?1`, in.ID, c.Now())
	return err
}

// A keeper is a client of a shelf. It is its own link.
type keeper struct {
	b       *testing.B
	session *room.Session
	frames  chan *room.Frame
	rows    int64
	touched int64
	actions int
	cursor  string // of the newest reply
}

// fillAtOnce is how many rows one action adds: an action changes 10,000 at most.
const fillAtOnce = 10_000

func keep(b *testing.B, host *room.Host, rows int64) *keeper {
	b.Helper()
	k := &keeper{b: b, rows: rows, frames: make(chan *room.Frame, 4096)}
	session, err := host.Connect(context.Background(), room.Key{Namespace: shelves, Room: fmt.Sprintf("of %d", rows)},
		room.ConnectRequest{ID: "bench", Link: k})
	if err != nil {
		b.Fatal(err)
	}
	k.session = session
	for from := int64(0); from < rows; from += fillAtOnce {
		k.do("fill", map[string]any{"from": from, "to": min(from+fillAtOnce, rows)})
	}
	return k
}

// Send is called by the room.
func (k *keeper) Send(frames ...*room.Frame) {
	for _, f := range frames {
		k.frames <- f
	}
}

// Close is called by the room when it shuts down.
func (k *keeper) Close(int, string) {}

func (k *keeper) post(message map[string]any) {
	k.b.Helper()
	data, err := json.Marshal(message)
	if err == nil {
		err = k.session.Receive(data, false)
	}
	if err != nil {
		k.b.Fatal(err)
	}
}

// do does an action and takes note of the cursor in its reply, which is the last member.
func (k *keeper) do(action string, payload any) {
	k.b.Helper()
	k.actions++
	k.post(map[string]any{"id": fmt.Sprint(k.actions), "channel": "items", "rpc": true, "action": map[string]any{"type": action, "payload": payload}})
	reply := (<-k.frames).Payload()
	if !bytes.Contains(reply[:min(len(reply), 100)], []byte(`"type":"success"`)) {
		k.b.Fatalf("the reply was %.200s", reply)
	}
	k.cursor = cursorOf(reply)
}

// cursorOf finds the cursor of a frame; "" is none.
func cursorOf(frame []byte) string {
	_, rest, found := bytes.Cut(frame[bytes.LastIndexByte(frame, ']')+1:], []byte(`"cursor":"`))
	if !found {
		return ""
	}
	cursor, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(cursor)
}

// behind changes rows, each in an action of its own, and gives the cursor from before.
func (k *keeper) behind(rows int64) string {
	k.b.Helper()
	k.do("touch", map[string]any{"id": k.touched % k.rows})
	before := k.cursor
	for range rows {
		k.touched += 7919 // all over the table
		k.do("touch", map[string]any{"id": k.touched % k.rows})
	}
	return before
}

// resume asks for what changed since a cursor, and gives the time to the last frame.
func (k *keeper) resume(cursor string, rows int) time.Duration {
	k.b.Helper()
	start := time.Now()
	k.post(map[string]any{"channel": "items", "sync": true, "cursor": cursor})
	got := 0
	for {
		frame := (<-k.frames).Payload()
		got += bytes.Count(frame, []byte("an item"))
		if !bytes.Contains(frame[max(0, len(frame)-80):], []byte(`"more":true`)) {
			break
		}
	}
	took := time.Since(start)
	if got != rows {
		k.b.Fatalf("resuming brought %d rows instead of %d", got, rows)
	}
	return took
}

// BenchmarkResume: a client that is 100 rows behind, in a table of 1,000,000 rows, or of 100,000 without DEN_BENCH_FULL. The
// floor is the same in a table of 1,000.
func BenchmarkResume(b *testing.B) {
	const rows = 100
	o := hostOptions(b, durable)
	host := openHostWith(b, o, registerShelf)
	small, large := keep(b, host, 1_000), keep(b, host, int64(fully(1_000_000, 100_000)))
	if small.cursor == "" {
		b.Skip("the replies have no cursors")
	}
	for b.Loop() {
		var smalls, larges []time.Duration
		for range 31 {
			from, fromLarge := small.behind(rows), large.behind(rows)
			smalls = append(smalls, small.resume(from, rows))
			larges = append(larges, large.resume(fromLarge, rows))
		}
		s, l := median(smalls), median(larges)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(s.Microseconds()), "small-µs")
		b.ReportMetric(float64(l.Microseconds()), "large-µs")
		b.ReportMetric(float64(l)/float64(s), "ratio(≤3)")
	}
}
