package bench

// Like plain_test.go, for what lies below the rooms: the commit log, and a database on it.

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/commitlog"
)

// BenchmarkPlainAppend: an entry of 200 bytes that is appended to the commit log, durable, one at a time.
func BenchmarkPlainAppend(b *testing.B) {
	r, p := logRoom(b, openLog(b), "bench"), make([]byte, 200)
	watch, n := newStopwatch(), uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		n++
		watch.time(func() { appendEntry(b, r, n, p) })
	}
	watch.report(b)
}

// BenchmarkPlainAppends: 16 rooms append an entry of 200 bytes to the commit log at once. An operation is 64 entries.
func BenchmarkPlainAppends(b *testing.B) {
	const rooms, each = 16, 4
	log, p := openLog(b), make([]byte, 200)
	var all [rooms]*commitlog.Room
	for i := range all {
		all[i] = logRoom(b, log, fmt.Sprint("bench", i))
	}
	watch, n, done := newStopwatch(), uint64(0), make(chan struct{})
	b.ReportAllocs()
	for b.Loop() {
		watch.time(func() {
			for _, r := range all {
				go func() { // ends with its last entry
					for i := range uint64(each) {
						appendEntry(b, r, n+i+1, p)
					}
					done <- struct{}{}
				}()
			}
			for range all {
				<-done
			}
		})
		n += each
	}
	watch.report(b)
}

func openLog(b *testing.B) *commitlog.Log {
	b.Helper()
	log, err := commitlog.Open(commitlog.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := log.Close(); err != nil {
			b.Error(err)
		}
	})
	return log
}

func logRoom(b *testing.B, log *commitlog.Log, name string) *commitlog.Room {
	b.Helper()
	r, err := log.Room(todo.Namespace, name, fmt.Sprintf("%032x", 1))
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// appendEntry appends one, and lets go of those before it now and then.
func appendEntry(b *testing.B, r *commitlog.Room, n uint64, payload []byte) {
	if err := r.Append(commitlog.Entry{Number: n, Seq: n, At: 1, Payload: payload}); err != nil {
		b.Error(err)
	}
	if n%500 == 0 {
		r.Release(n)
	}
}

// BenchmarkPlainStorage: an action on a room's database that inserts a row of 100 bytes, with the commit log, and without
// the room: no messages, no actor.
func BenchmarkPlainStorage(b *testing.B) {
	dir := b.TempDir()
	log, err := storage.OpenLog(storage.LogOptions{Dir: filepath.Join(dir, logDir)})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	db, err := storage.Open(storage.Options{Path: filepath.Join(dir, "room.db"), Namespace: todo.Namespace, Room: "bench", Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err = db.Exec(`CREATE TABLE todos (id TEXT NOT NULL PRIMARY KEY, text TEXT NOT NULL, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER) STRICT`); err == nil {
		err = db.Sync("todos")
	}
	if err != nil {
		b.Fatal(err)
	}
	watch, n := newStopwatch(), 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		id := fmt.Sprintf("t%07d", n)
		watch.time(func() { err = insertTodo(db, id) })
		if err != nil {
			b.Fatal(err)
		}
	}
	watch.report(b)
}

// insertTodo is an action of one row, in a batch of its own.
func insertTodo(db *storage.DB, id string) error {
	const at = 1767225600000 // Unix milliseconds
	batch, err := db.Begin()
	if err != nil {
		return err
	}
	_, err = batch.Do(at, func() error {
		_, err := db.Exec(`INSERT INTO todos (id, text, created_at, updated_at) VALUES (?, ?, ?, ?)`, id, text, int64(at), int64(at))
		return err
	})
	if err != nil {
		return err
	}
	return batch.Commit()
}
