package room_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// recorder keeps what it was sent as a link, or what was written into it.
type recorder struct {
	mu   sync.Mutex
	text []string
}

func (r *recorder) Close(int, string) {}
func (r *recorder) Send(frames ...*room.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range frames {
		r.text = append(r.text, string(f.Payload()))
	}
}

func (r *recorder) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, string(line))
	return len(line), nil
}

func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.text, "\n")
}

// TestInvariantBoundedMailboxBytes: a connection's large messages fill a half of a room's mailbox, and no more of them
// are read; small ones of another connection are.
func TestInvariantBoundedMailboxBytes(t *testing.T) {
	const large = 10_000
	h, seen, connect := openCounter(t, func(o *room.Options) { o.MailboxBytes = 200_000 })
	flooder, honest := connect("flooder", sink{}), connect("honest", sink{})
	seen.stop(flooder)
	message := append([]byte(`{"x":"`), append(bytes.Repeat([]byte("y"), large), `"}`...)...)
	before, taken := h.MemoryUsed(), 0
	for flooder.Offer(message, false) {
		taken++
	}
	if used := h.MemoryUsed() - before; taken < 5 || taken > 10 || used < int64(taken*large) || used > 110_000 {
		t.Errorf("%d messages of %d bytes were read, which count %d bytes: want half of 200,000 bytes", taken, large, used)
	}
	for range 20 {
		if !honest.Offer([]byte(`{"do":"count"}`), false) {
			t.Error("another connection's small message is not read")
		}
	}
	close(seen.release)
	if err := h.Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	if used := h.MemoryUsed(); used != 0 {
		t.Errorf("%d bytes count after all was served", used)
	}
}

// When the node's memory for messages is used up, a message is refused with overloaded, and the operator is told; what
// was taken is served, and then there is room again.
func TestMemoryIsBounded(t *testing.T) {
	var log recorder
	h, seen, connect := openCounter(t, func(o *room.Options) {
		o.Memory, o.Logger = 100_000, slog.New(slog.NewTextHandler(&log, nil))
	})
	link := new(recorder)
	client := connect("client", link)
	seen.stop(client)
	message := fmt.Appendf(nil, `{"do":%q}`, strings.Repeat("x", 9000))
	const sent = 20
	for range sent {
		if err := client.Receive(message, false); err != nil {
			t.Fatal(err)
		}
	}
	refused := strings.Count(link.all(), `"overloaded"`)
	if refused < 5 || refused > 12 || h.MemoryUsed() > h.MemoryLimit() {
		t.Errorf("%d of %d messages were refused, %d bytes count; the limit is %d", refused, sent, h.MemoryUsed(), h.MemoryLimit())
	}
	if n := strings.Count(log.all(), "messages are refused with overloaded"); n != 1 {
		t.Errorf("the operator was told %d times:\n%s", n, log.all())
	}
	close(seen.release)
	if err := h.Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen.mu.Lock()
	served := len(seen.order)
	seen.mu.Unlock()
	if served != sent-refused {
		t.Errorf("%d of %d messages were refused, %d were served", refused, sent, served)
	}
	if used := h.MemoryUsed(); used != 0 {
		t.Errorf("%d bytes count after all was served", used)
	}
	if err := client.Receive(message, false); err != nil || strings.Count(link.all(), `"overloaded"`) != refused {
		t.Errorf("there is no room again: %v", err)
	}
	if err := h.Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
}

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
