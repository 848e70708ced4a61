package storage

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/denrooms/den/storage/internal/history"
)

// A large entry, which is written into the file page by page, is checked page by page: whichever page is not what the entry says, the
// room is refused, and its file stays as it was.
func TestReplayChecksALargeEntry(t *testing.T) {
	o, log := testOptions(t), newMemLog()
	o.Log = log
	d := powerRoom(t, o)
	mustExec(t, d, "CREATE TABLE big (id INTEGER PRIMARY KEY, b)")
	d.AfterCommit() // it has a file
	if err := largeAction(d, history.LargeEntry>>20+1, (*Batch).DoUnbounded); err != nil {
		t.Fatal(err)
	}
	entries := log.rooms[o.Namespace+"/"+o.Room+"/"+d.Epoch()].entries
	d.Fence()
	if err := os.Remove(o.Path + "-wal"); err != nil { // it is in the log
		t.Fatal(err)
	}
	log.crashed++
	const payloadHeader, pageHeader = 16, 12 // see package pagelog
	payload := entries[len(entries)-1].Payload
	tried := map[uint32]bool{1: false, 5: false}
	for at := payloadHeader; at < len(payload); {
		number := binary.LittleEndian.Uint32(payload[at:])
		if _, is := tried[number]; is {
			tried[number] = true
			payload[at+4] ^= 1 // its checksum
			_, err := Open(o)
			if !errors.Is(err, ErrLogMismatch) {
				t.Errorf("page %d is another: %v, want %v", number, err, ErrLogMismatch)
			}
			payload[at+4] ^= 1
		}
		at += pageHeader + int(binary.LittleEndian.Uint32(payload[at+8:]))
	}
	if len(payload) < history.LargeEntry || !tried[1] || !tried[5] {
		t.Fatalf("an entry of %d bytes, tried %v: this tests nothing", len(payload), tried)
	}
	d = openTest(t, o)
	if got := query(t, d, "SELECT count(*) FROM big")[0][0]; got != int64(history.LargeEntry>>20+1) {
		t.Errorf("%v rows", got)
	}
}
