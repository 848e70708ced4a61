package room_test

import (
	"bytes"
	"net/http/httptest"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// TestInvariantBoundedWaitingRequests: plain requests that wait for a place in a room's mailbox have a quarter of the node's
// memory at the most. One more is refused with overloaded, and the others are answered when the room goes on.
func TestInvariantBoundedWaitingRequests(t *testing.T) {
	const requests, size, memory = 20, 90_000, 1 << 20
	h, seen, connect := openCounter(t, func(o *room.Options) { o.MailboxBytes, o.Memory = 200_000, memory })
	seen.stop(connect("client", sink{}))
	codes := make(chan syncproto.Code, requests)
	for range requests {
		go func() { // ends when it is answered
			r := httptest.NewRequest("POST", "/", bytes.NewReader(make([]byte, size)))
			err := h.ServeRequest(t.Context(), room.Key{Namespace: "counter", Room: "one"}, room.Identity{}, httptest.NewRecorder(), r)
			code, _ := room.ErrorCode(err)
			codes <- code
		}()
	}
	const taken = 100_000/size + memory/4/size // in the mailbox, and before it
	for range requests - taken {
		if code := <-codes; code != syncproto.CodeOverloaded {
			t.Errorf("a request that has no place was answered with %s", code)
		}
	}
	if used := h.MemoryUsed(); used < taken*size || used > (taken+1)*size {
		t.Errorf("%d bytes count for %d requests of %d bytes that wait", used, taken, size)
	}
	close(seen.release)
	for range taken {
		if code := <-codes; code != syncproto.CodeNotFound {
			t.Errorf("a request that waited was answered with %s", code)
		}
	}
	if err := h.Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	if used := h.MemoryUsed(); used != 0 {
		t.Errorf("%d bytes count after all was answered", used)
	}
}
