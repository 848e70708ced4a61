// Package bench holds the benchmarks whose figures stand in the README: each
// prints Den's figure as a ratio to a floor that is measured in the same run, turn
// about with Den's, because machines differ and are noisy.
//
//	go test -run '^$' -bench . -benchtime 1x ./test/bench
package bench

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	_ "modernc.org/sqlite"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/transport"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// den is a host with the todo fixture, and a server in front of it.
func den(b *testing.B) (*room.Host, string) {
	b.Helper()
	host, err := room.Open(room.Options{Dir: b.TempDir(), Logger: quiet})
	if err == nil {
		err = todo.Register(host)
	}
	if err != nil {
		b.Fatal(err)
	}
	handler, err := transport.NewHandler(host, transport.Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(handler)
	b.Cleanup(func() {
		if err := handler.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
		server.Close()
	})
	return host, server.URL
}

func dial(b *testing.B, url string) *websocket.Conn {
	b.Helper()
	conn, _, err := websocket.Dial(context.Background(), strings.Replace(url, "http", "ws", 1), nil)
	if err != nil {
		b.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	b.Cleanup(func() { conn.CloseNow() })
	return conn
}

func send(b *testing.B, conn *websocket.Conn, data []byte) {
	b.Helper()
	if err := conn.Write(context.Background(), websocket.MessageText, data); err != nil {
		b.Fatal(err)
	}
}

func receive(b *testing.B, conn *websocket.Conn) []byte {
	b.Helper()
	_, data, err := conn.Read(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	return data
}

func create(n int, text string) []byte {
	data, _ := json.Marshal(map[string]any{"id": fmt.Sprintf("a%07d", n), "channel": "todos", "rpc": true,
		"action": map[string]any{"type": "create", "payload": map[string]any{"id": fmt.Sprintf("t%07d", n), "text": text, "completed": 0}}})
	return data
}

func mustSucceed(b *testing.B, reply []byte) {
	b.Helper()
	if !bytes.Contains(reply, []byte(`"type":"success"`)) {
		b.Fatalf("the reply was %.200s", reply)
	}
}

// quantile of durations that are sorted.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// turnAbout measures things in alternating blocks, so that what the machine does
// meanwhile falls on all of them. What each took is sorted. There is a block more, the first,
// that does not count.
func turnAbout(blocks, each int, things ...func()) (took [][]time.Duration) {
	took = make([][]time.Duration, len(things))
	for block := range blocks + 1 {
		for i, f := range things {
			for range each {
				start := time.Now()
				f()
				if t := time.Since(start); block > 0 {
					took[i] = append(took[i], t)
				}
			}
		}
	}
	for _, t := range took {
		slices.Sort(t)
	}
	return took
}

// BenchmarkDurableAction: one client, one action at a time, from the socket to the
// reply. The floor is an echo over coder/websocket that appends 200 bytes to a file
// and syncs it before it answers.
func BenchmarkDurableAction(b *testing.B) {
	_, url := den(b)
	client := dial(b, url+"/parties/todos/bench")
	echo := dial(b, echoServer(b))
	message := bytes.Repeat([]byte("x"), 200)
	text := strings.Repeat("x", 100)
	n := 0
	for b.Loop() {
		took := turnAbout(50, 50, func() {
			send(b, echo, message)
			receive(b, echo)
		}, func() {
			n++
			send(b, client, create(n, text))
			mustSucceed(b, receive(b, client))
		})
		floor, action := took[0], took[1]
		f50, f99 := quantile(floor, 0.5), quantile(floor, 0.99)
		a50, a99 := quantile(action, 0.5), quantile(action, 0.99)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(f50.Microseconds()), "floor-p50-µs")
		b.ReportMetric(float64(a50.Microseconds()), "den-p50-µs")
		b.ReportMetric(float64(a50)/float64(f50), "p50-ratio(≤1.5)")
		b.ReportMetric(float64(f99.Microseconds()), "floor-p99-µs")
		b.ReportMetric(float64(a99.Microseconds()), "den-p99-µs")
		b.ReportMetric(float64(a99)/float64(f99), "p99-ratio(≤2)")
	}
}

// BenchmarkInFlight: one room, no sockets; 256 actions in flight, durable, against one at
// a time where each waits for a sync of the room's own file. The commit log makes one at a
// time faster too, which the second ratio shows.
func BenchmarkInFlight(b *testing.B) {
	log, file := sit(b, openHost(b, durable), "flight"), sit(b, openHost(b, full), "flight")
	rate := func(s *seat, actions, inFlight int) time.Duration {
		messages := s.prepare(actions)
		start := time.Now()
		s.work(messages, inFlight)
		return time.Since(start) / time.Duration(actions)
	}
	rate(log, 8192, 256)
	rate(file, 200, 1)
	for b.Loop() {
		var alone, synced, many []time.Duration
		for range fully(11, 3) {
			alone, synced, many = append(alone, rate(log, 200, 1)), append(synced, rate(file, 200, 1)), append(many, rate(log, 8192, 256))
		}
		a, f, m := median(alone), median(synced), median(many)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(time.Second)/float64(a), "one-at-a-time/s")
		b.ReportMetric(float64(time.Second)/float64(f), "one-file-sync/s")
		b.ReportMetric(float64(time.Second)/float64(m), "256-in-flight/s")
		b.ReportMetric(float64(f)/float64(m), "to-file-sync-ratio(≥20)")
		b.ReportMetric(float64(a)/float64(m), "to-one-at-a-time-ratio")
	}
}

// BenchmarkFirstSync: the first sync of 10,000 rows over a socket, to the last byte
// of the last page. The floor is the same SELECT through the driver. The room
// changes before each sync, so that nothing is served from a cache.
func BenchmarkFirstSync(b *testing.B) {
	const rows = 10_000
	_, url := den(b)
	client := dial(b, url+"/parties/todos/rows")
	text := strings.Repeat("x", 60)
	for i := range rows {
		send(b, client, create(i, text))
		if i >= 200 {
			mustSucceed(b, receive(b, client))
		}
	}
	for range 200 {
		mustSucceed(b, receive(b, client))
	}
	db := sameRows(b, rows, text)
	ask := []byte(`{"channel":"todos","sync":true,"from":null}`)
	n := rows
	for b.Loop() {
		var floors, syncs []time.Duration
		for range 31 {
			start := time.Now()
			if got := selectAll(b, db); got != rows {
				b.Fatalf("the SELECT gave %d rows", got)
			}
			floors = append(floors, time.Since(start))

			n++
			send(b, client, create(n, text))
			mustSucceed(b, receive(b, client))
			start = time.Now()
			readSync(b, client, ask, rows*len(text))
			syncs = append(syncs, time.Since(start))
		}
		slices.Sort(floors)
		slices.Sort(syncs)
		f, s := quantile(floors, 0.5), quantile(syncs, 0.5)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(f.Microseconds()), "select-µs")
		b.ReportMetric(float64(s.Microseconds()), "sync-µs")
		b.ReportMetric(float64(s)/float64(f), "ratio(≤2)")
	}
}

// readSync asks for a sync and reads it to the end of its last page.
func readSync(b *testing.B, client *websocket.Conn, ask []byte, atLeast int) {
	b.Helper()
	send(b, client, ask)
	size := 0
	for more := true; more; {
		page := receive(b, client)
		size += len(page)
		more = bytes.Contains(page[max(0, len(page)-200):], []byte(`],"more":true`))
	}
	if size < atLeast {
		b.Fatalf("the sync brought %d bytes", size)
	}
}

func sameRows(b *testing.B, rows int, text string) *sql.DB {
	b.Helper()
	db, err := sql.Open("sqlite", filepath.Join(b.TempDir(), "floor.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	for _, s := range []string{
		`PRAGMA locking_mode=EXCLUSIVE`, `PRAGMA journal_mode=WAL`,
		`CREATE TABLE todos (id TEXT NOT NULL PRIMARY KEY, text TEXT NOT NULL, completed INTEGER NOT NULL,
			created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, deleted_at INTEGER) STRICT`,
		fmt.Sprintf(`INSERT INTO todos WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT printf('t%%07d', i), '%s', 0, 1767225600000, 1767225600000, NULL FROM n`, rows-1, text),
	} {
		if _, err := db.Exec(s); err != nil {
			b.Fatal(err)
		}
	}
	return db
}

func selectAll(b *testing.B, db *sql.DB) (n int) {
	b.Helper()
	rows, err := db.Query(`SELECT * FROM todos WHERE deleted_at IS NULL`)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	var id, text string
	var completed, created, updated int64
	var deleted sql.NullInt64
	for rows.Next() {
		if err := rows.Scan(&id, &text, &completed, &created, &updated, &deleted); err != nil {
			b.Fatal(err)
		}
		n++
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return n
}
