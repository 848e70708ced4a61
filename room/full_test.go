package room_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/faultdisk"
)

// That nothing was changed is said only where it is certain. An error that is of a full disk and of one that fails
// at once is none of that.
func TestErrorCodeOfAnUnknownOutcome(t *testing.T) {
	for _, c := range []struct {
		err     error
		certain bool
	}{
		{storage.ErrFull, true},
		{fmt.Errorf("a commit: %w", storage.ErrFull), true},
		{fmt.Errorf("%w: %w", storage.ErrIO, storage.ErrFull), false},
		{fmt.Errorf("%w: %w", storage.ErrFull, storage.ErrIO), false},
		{errors.Join(storage.ErrReadOnly, storage.ErrIO), false},
		{storage.ErrIO, false},
	} {
		code, message := room.ErrorCode(c.err)
		if code != "storage_unavailable" || strings.Contains(message, "Nothing was changed") != c.certain {
			t.Errorf("%v: %s: %s", c.err, code, message)
		}
	}
}

// An action whose outcome nobody knows, because the disk is full when the log has it already, is not answered with
// a promise: the life ends, and the action that is sent again is applied once, whether the log had it or not.
func TestFullDiskExactlyOnce(t *testing.T) {
	outcomes := make(map[bool]int) // by whether it was said that nothing was changed
	for n := range 36 {
		// The WAL is written in pieces. Whether one is left for when the log has the action depends on where the last one ends.
		after, size := n%12, 200_000+n/12*20_000 // writes of the WAL before the disk is full; bytes
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			disk, with := onDisk(t, uint64(n))
			var said logRecords
			h, _ := open(t, with, func(o *room.Options) { o.Logger = slog.New(slog.NewJSONHandler(&said, nil)) })
			alice := h.Join("shop", "r", "alice")
			mustSucceed(t, alice.DoNumbered("phone", 1, "items", "sql", "CREATE TABLE big (x); INSERT INTO big VALUES (zeroblob(10))"))
			h.SleepRoom("shop", "r") // from here on it has a file
			alice.Sync("items")
			disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: "-wal", After: after, Times: -1})
			large := fmt.Sprintf("INSERT INTO big VALUES (randomblob(%d))", size) // more than what waits for the WAL
			e := alice.DoNumbered("phone", 2, "items", "sql", large)
			disk.Heal()
			if e.Kind != "success" {
				if e.Code != "storage_unavailable" && e.Code != "room_unavailable" {
					t.Errorf("it was answered with %s", e.Data)
				}
				promised := strings.Contains(string(e.Data), "Nothing was changed")
				if err := h.Quiet(t.Context()); err != nil {
					t.Fatal(err)
				}
				records := said.of(t, "r")
				if ended := len(records) > 0 && strings.Contains(fmt.Sprint(records[0]["msg"]), "begins a new life"); ended == promised {
					t.Errorf("that nothing was changed was said: %v; the log has %v", promised, records)
				}
				h.CrashRoom("shop", "r")
				h.Advance(time.Minute)
				mustSucceed(t, alice.Do("items", "sql", "INSERT INTO items SELECT 'seen ' || count(*), '', 1, 1, NULL FROM big"))
				if rows := alice.Sync("items"); promised && (len(rows) != 1 || rows[0].ID() != "seen 1") {
					t.Errorf("nothing was changed, it was said, and there is %v", rows)
				}
				outcomes[promised]++
				mustSucceed(t, alice.DoNumbered("phone", 2, "items", "sql", large))
				mustSucceed(t, alice.Do("items", "sql", "DELETE FROM items"))
			}
			mustSucceed(t, alice.DoNumbered("phone", 3, "items", "sql", "INSERT INTO items SELECT count(*), '', 1, 1, NULL FROM big"))
			if rows := alice.Sync("items"); len(rows) != 1 || rows[0].ID() != "2" {
				t.Errorf("the action was applied %v", rows)
			}
		})
	}
	if outcomes[true] == 0 || outcomes[false] == 0 {
		t.Errorf("the outcomes were %v: not all was tested", outcomes)
	}
}
