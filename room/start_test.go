package room_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/faultdisk"
	"github.com/denrooms/den/syncproto"
)

// A disk that is full at any write of a room's start keeps it from starting, or does not
// matter: it does not leave a life that lacks what its start has written.
func TestStartOnAFullDisk(t *testing.T) {
	disk, with := onDisk(t, 1)
	h, _ := open(t, with)
	for after := range 8 { // writes of the log before it is full
		at := fmt.Sprint("r", after)
		faults := disk.Stats().Faults
		disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Err: syscall.ENOSPC, Suffix: ".log", After: after})
		_, failed := h.TryJoin("shop", at, "early")
		disk.Heal()
		if disk.Stats().Faults == faults {
			return // the start writes no more than this
		}
		if code, _ := room.ErrorCode(failed); failed != nil && code != syncproto.CodeStorageUnavailable {
			t.Errorf("full at write %d: %v", after, failed)
		}
		h.Advance(time.Hour) // it is tried again by then
		alice, err := h.TryJoin("shop", at, "alice")
		if err != nil {
			t.Errorf("full at write %d (%v); with room again: %v", after, failed, err)
			continue
		}
		mustSucceed(t, alice.Do("items", "sql", "INSERT INTO private VALUES (1)"))
	}
	t.Error("the start never held: nothing was tested")
}
