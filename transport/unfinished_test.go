package transport

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// What clients have sent of messages and bodies that do not end.

const nodeMemory = 16 << 20 // the least that den takes

func smallNode(o *room.Options) { o.Memory = nodeMemory }

// halfFrame is a message of 1 MiB without its last byte.
func halfFrame() []byte {
	whole := make([]byte, 1<<20)
	frame := clientHeader(finBit|opBinary, len(whole), whole, [4]byte{1, 2, 3, 4})
	return frame[:len(frame)-1]
}

// TestInvariantBoundedHalfMessages: clients whose messages do not end have a half of the node's memory at the most. Most are
// closed with 4002, those that are left may go on, and others are served, with messages as large as may be.
func TestInvariantBoundedHalfMessages(t *testing.T) {
	s := startServer(t, Options{}, smallNode)
	const sockets = 40
	half := halfFrame()
	var all []*rawClient
	for range sockets {
		raw := rawDial(t, s.addr())
		raw.upgrade("/parties/probe/home")
		raw.send(half)
		all = append(all, raw)
		if used := s.host.MemoryUsed(); used > nodeMemory*3/4 {
			t.Fatalf("%d bytes count", used)
		}
	}
	eventually(t, "most of them to be closed", func() bool { return len(s.control.closed) >= sockets-8 })
	honest := rawDial(t, s.addr())
	honest.upgrade("/parties/probe/other")
	honest.send(clientFrame(opText, []byte(asText("small"))))
	if f := honest.frame(); string(f.payload) != asText("small") {
		t.Errorf("an honest client got %#x %.60q", f.op, f.payload)
	}
	large := asText(strings.Repeat("x", 1<<20-len(asText(""))))
	honest.send(clientFrame(opText, []byte(large)))
	if f := honest.frame(); string(f.payload) != large {
		t.Errorf("an honest client's largest message: got %#x %.60q", f.op, f.payload)
	}
	finished := 0
	for i, raw := range all {
		raw.Write([]byte{0}) // the server may have closed
		switch f := raw.frame(); f.op {
		case opBinary:
			finished++
		case opClose:
			if code, reason := f.close(); code != syncproto.CloseOverloaded || reason != "overloaded" {
				t.Errorf("client %d was closed with %d %q", i, code, reason)
			}
		}
	}
	if finished == 0 || finished > 8 {
		t.Errorf("%d of %d messages could be finished, want some of 8", finished, sockets)
	}
	if n := strings.Count(s.log.String(), "clients with large unfinished messages"); n != 1 {
		t.Errorf("the operator was told %d times", n)
	}
	for _, raw := range all {
		raw.Close()
	}
	eventually(t, "nothing to count", func() bool { return s.host.MemoryUsed() == 0 })
}

// A short message needs nothing of the budget, and a long one gives all back, with whatever it ends.
func TestHalfMessageGivesBack(t *testing.T) {
	s := startServer(t, Options{}, smallNode)
	long := clientFrame(opBinary, make([]byte, 300_000))
	for name, end := range map[string]func(raw *rawClient){
		"whole": func(raw *rawClient) { raw.send(long[250_000:]); raw.frame() },
		"gone":  func(raw *rawClient) { raw.Close() },
		"violation": func(raw *rawClient) {
			raw.send(long[250_000:], []byte{0xff, 0xff})
			raw.expectClose(closeProtocol, "protocol_error")
		},
	} {
		t.Run(name, func(t *testing.T) {
			raw := rawDial(t, s.addr())
			raw.upgrade("/parties/probe/home")
			raw.send(clientFrame(opBinary, make([]byte, firstBytes)))
			raw.frame()
			eventually(t, "the short message to count no more", func() bool { return s.host.MemoryUsed() == 0 })
			raw.send(long[:3000])
			raw.send(long[3000:250_000])
			eventually(t, "the long message to count", func() bool { return s.host.MemoryUsed() > 250_000 })
			if used := s.host.MemoryUsed(); used > 310_000 {
				t.Errorf("%d bytes count for a message of 300,000", used)
			}
			end(raw)
			eventually(t, "nothing to count", func() bool { return s.host.MemoryUsed() == 0 })
		})
	}
}

// TestInvariantBoundedHalfBodies: bodies that do not end have a half of the node's memory at the most. Most are
// answered with overloaded, and other requests are served, with bodies as large as may be.
func TestInvariantBoundedHalfBodies(t *testing.T) {
	s := startServer(t, Options{}, smallNode)
	const requests = 40
	half := append([]byte("POST /parties/probe/home?on=echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n"), make([]byte, 1<<20-1)...)
	var all []*rawClient
	for range requests {
		raw := rawDial(t, s.addr())
		raw.send(half)
		all = append(all, raw)
		if used := s.host.MemoryUsed(); used > nodeMemory*3/4 {
			t.Fatalf("%d bytes count", used)
		}
	}
	for _, body := range []io.Reader{strings.NewReader(strings.Repeat("x", 1<<20)), io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)))} {
		if resp, got := s.do("POST", "/parties/probe/other?on=echo", body); resp.StatusCode != 200 || len(got) != 1<<20 {
			t.Errorf("an honest body: %d, %d bytes", resp.StatusCode, len(got))
		}
	}
	served := 0
	for i, raw := range all {
		raw.Write([]byte{0}) // the server may have closed
		resp, err := http.ReadResponse(raw.r, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case resp.StatusCode == 200 && len(body) == 1<<20:
			served++
		case resp.StatusCode != 503 || !strings.Contains(string(body), `"overloaded"`):
			t.Errorf("request %d was answered with %d %.100s, %v", i, resp.StatusCode, body, err)
		}
	}
	if served == 0 || served > 8 {
		t.Errorf("%d of %d requests could be finished, want some of 8", served, requests)
	}
	for _, raw := range all {
		raw.Close()
	}
	eventually(t, "nothing to count", func() bool { return s.host.MemoryUsed() == 0 })
}

// A growing is a message as a test follows it, and the owner that is ended.
type growing struct {
	held    held
	bytes   int
	since   int // when it began to grow; 0: it is whole, or has nothing
	ended   bool
	evicted func(*growing)
}

func (g *growing) evict() { g.evicted(g) }

// goesBefore reports whether a message is ended before another: the larger one, or the older of equal ones.
func (g *growing) goesBefore(other *growing) bool {
	return g.bytes > other.bytes || g.bytes == other.bytes && g.since < other.since
}

// Whatever is taken, settled, released and ended, in any order: the limit holds, the largest that is not whole is the one that is ended,
// and all is given back.
func TestUnfinished(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		memory := hibernate.NewMemory(2000)
		u := newUnfinished(memory, 0, func() {})
		var all [12]*growing
		first := func(g *growing) bool { // none goes before it
			return !slices.ContainsFunc(all[:], func(other *growing) bool { return other.since > 0 && other.goesBefore(g) })
		}
		fresh := func() *growing {
			g := &growing{evicted: func(g *growing) {
				if g.since == 0 || !first(g) {
					t.Fatalf("seed %d: one with %d bytes was ended, which is whole or not the largest", seed, g.bytes)
				}
				g.since, g.bytes, g.ended = 0, 0, true
			}}
			g.held.owner = g
			return g
		}
		for i := range all {
			all[i] = fresh()
		}
		for step := 1; step <= 500; step++ {
			i := rnd.IntN(len(all))
			g := all[i]
			switch n := rnd.IntN(10); {
			case n < 7:
				more := 1 + rnd.IntN(300)
				switch grown := u.grow(&g.held, more); {
				case grown == g.ended && grown:
					t.Fatalf("seed %d: one that was ended has grown", seed)
				case grown:
					if g.bytes += more; g.since == 0 {
						g.since = step
					}
				case !g.ended && !(g.since > 0 && first(g)) && slices.ContainsFunc(all[:], func(other *growing) bool { return other.since > 0 }):
					t.Fatalf("seed %d: one with %d bytes was refused, which is not the largest", seed, g.bytes)
				}
			case n < 8:
				if u.settle(&g.held) == g.ended {
					t.Fatalf("seed %d: settled, though ended is %v", seed, g.ended)
				}
				g.since = 0
			default:
				u.release(&g.held)
				all[i] = fresh()
			}
			if memory.Used() > 1000 {
				t.Fatalf("seed %d: %d bytes of 1000 are taken", seed, memory.Used())
			}
		}
		for _, g := range all {
			u.release(&g.held)
		}
		if memory.Used() != 0 || len(u.heaps) != 0 {
			t.Fatalf("seed %d: %d bytes and %d messages are left", seed, memory.Used(), len(u.heaps))
		}
	}
}

// A buffer is at most four times what has come while it is small, twice when it is not, and never more than is announced.
func TestNextBytes(t *testing.T) {
	for _, announced := range []uint64{1, 5000, 70_000, 1<<20 - 1, 1 << 20} {
		come := 0
		for uint64(come) < announced {
			next := nextBytes(come, announced)
			if next <= come || come >= thirdBytes && next > 2*come || next > thirdBytes && uint64(next) > announced || come > 0 && next > 4*come {
				t.Errorf("%d of %d have come: a buffer of %d bytes", come, announced, next)
			}
			come = next
		}
	}
}

// A message that fits into the first buffer takes nothing of the count.
func TestShortMessageCountsNothing(t *testing.T) {
	memory := hibernate.NewMemory(0) // has no room for anything
	for size, fits := range map[int]bool{10: true, firstBytes: true, firstBytes + 1: false} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			stream := clientFrame(opBinary, make([]byte, size))
			r := &reader{limit: 1 << 20, began: func(bool) {}, memory: newUnfinished(memory, 0, func() {})}
			r.source = func(p []byte, _ bool) (int, error) {
				n := copy(p, stream)
				stream = stream[n:]
				return n, nil
			}
			defer r.release()
			m, err := r.next(make([]byte, 0, firstBytes))
			if broken, is := errors.AsType[*violation](err); fits && (err != nil || len(m.data) != size) || !fits && (!is || broken.code != syncproto.CloseOverloaded) {
				t.Errorf("%d bytes, %v", len(m.data), err)
			}
		})
	}
}

// TestInvariantBoundedWaitingMessages: large messages that are whole, and wait because their connection or room has as much to
// do as it may, count likewise. Those that are not closed are answered when the room goes on.
func TestInvariantBoundedWaitingMessages(t *testing.T) {
	s := startServer(t, Options{}, smallNode, func(o *room.Options) { o.InFlight = 1 })
	blocker := rawDial(t, s.addr())
	blocker.upgrade("/parties/probe/home")
	var all []*rawClient
	for range 16 {
		raw := rawDial(t, s.addr())
		raw.upgrade("/parties/probe/home")
		all = append(all, raw)
	}
	joined(t, s, 17)
	blocker.send(clientFrame(opText, []byte(`{"do":"block"}`)))
	within(t, s.control.entered, "the room to block")
	large := clientFrame(opBinary, make([]byte, 1<<20))
	for _, raw := range all {
		raw.send(clientFrame(opBinary, []byte("small")), large)
	}
	eventually(t, "most of them to be closed", func() bool {
		if used := s.host.MemoryUsed(); used > nodeMemory*3/4 {
			t.Fatalf("%d bytes count", used)
		}
		return closingSockets(s.handler) >= 8
	})
	close(s.control.release)
	if f := blocker.frame(); string(f.payload) != `"released"` {
		t.Errorf("the room went on with %.60q", f.payload)
	}
	answered := 0
	for i, raw := range all {
		f := raw.frame()
		if f.op == opBinary {
			f = raw.frame()
		}
		if f.op == opBinary && len(f.payload) == 1<<20 {
			answered++
		} else if code, _ := f.close(); f.op != opClose || code != syncproto.CloseOverloaded {
			t.Errorf("client %d got %#x %.60q", i, f.op, f.payload)
		}
	}
	if answered == 0 || answered > 8 {
		t.Errorf("%d of 16 messages were answered, want some of 8", answered)
	}
	eventually(t, "nothing to count", func() bool { return s.host.MemoryUsed() == 0 })
}

// closingSockets is how many sockets a close frame was queued for.
func closingSockets(h *Handler) (n int) {
	h.mu.Lock()
	all := h.sockets.all()
	h.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		if s.active != nil && s.active.link.closing() {
			n++
		}
		s.mu.Unlock()
	}
	return n
}
