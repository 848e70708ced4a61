package room_test

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/faultdisk"
)

// Where a transaction cannot begin, because the disk refuses what the room's file lacks, the hook does not run. The life ends, the operator is
// told of the disk and of nothing else, and what the client sends after that is served.
func TestHookWhoseTransactionDoesNotBegin(t *testing.T) {
	var log recorder
	disk, with := onDisk(t, 1)
	h, p := open(t, with, func(o *room.Options) {
		o.CheckpointBytes, o.Logger = 4<<10, slog.New(slog.NewTextHandler(&log, nil))
	})
	t.Cleanup(disk.Heal)
	alice := h.Join("shop", "r", "alice")
	mustSucceed(t, alice.Do("items", "add", object{"id": "1"}))
	h.SleepRoom("shop", "r")
	mustSucceed(t, alice.Do("items", "add", object{"id": "2"})) // after this the notes on alice are written
	if err := h.Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustSucceed(t, alice.Do("items", "put", object{"id": "2", "name": strings.Repeat("long ", 2<<10)}))
	if err := h.Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	starts := p.starts.Load()
	disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Times: -1})
	disk.Fail(faultdisk.Fault{Op: faultdisk.OpSync, Times: -1})
	if response, err := h.Request("shop", "r", httptest.NewRequest("GET", "/", nil)); err == nil {
		t.Errorf("the request was answered with %d", response.StatusCode)
	}
	if disk.Stats().Faults == 0 {
		t.Fatalf("the disk did not fail: nothing is tested (%s)", log.all())
	}
	disk.Heal()
	mustSucceed(t, alice.Do("items", "add", object{"id": "3"}))
	if got := ids(alice.Sync("items")); got != "1 2 3" {
		t.Errorf("the room holds %q", got)
	}
	if got := log.all(); strings.Contains(got, "panicked") || p.starts.Load() == starts {
		t.Errorf("after %d starts the log has %s", p.starts.Load()-starts, got)
	}
}
