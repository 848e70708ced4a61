package room_test

import (
	"testing"
	"time"

	"github.com/denrooms/den/storage/faultdisk"
)

// A client with a name that takes cursors has its answers for nothing: no note of it is written, because it will ask again itself.
func TestCursorWritesNothing(t *testing.T) {
	disk, with := onDisk(t, 1)
	h, _ := open(t, with)
	mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": "1"}))
	bob := h.Join("shop", "r", "bob")
	bob.Received()
	before := disk.Stats().Ops
	answer := bob.Resume("items", nil)
	bob.Resume("items", answer[len(answer)-1].Cursor)
	bob.Resume("marks", nil)
	bob.Received()
	for _, op := range []faultdisk.Op{faultdisk.OpWrite, faultdisk.OpSync} {
		if now := disk.Stats().Ops; now[op] != before[op] {
			t.Errorf("%d of the disk's operations %q for a client that only reads", now[op]-before[op], op)
		}
	}
}

// A client that came back, and takes cursors for one channel, still gets its own rows as an update in the other one: there it
// may have given up the reply.
func TestStockOwnRowsBesideACursor(t *testing.T) {
	for channel, want := range map[string]string{"marks": "update 2", "items": ""} {
		h, _ := open(t)
		bob := h.Join("shop", "r", "bob", published)
		ask(bob, nil)
		act(bob, "a", "add", object{"id": "1"})
		expect(t, "the first time", bob, "sync; success 1")
		bob.Confirm()
		bob.Leave()
		bob = h.Join("shop", "r", "bob", published)
		bob.Resume(channel, nil)
		bob.Received()
		act(bob, "b", "add", object{"id": "2"})
		expect(t, "with a cursor for "+channel, bob, "success 2")
		h.Advance(time.Second)
		expect(t, "a second later, with a cursor for "+channel, bob, want)
	}
}
