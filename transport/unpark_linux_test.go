package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/denrooms/den/hibernate"
)

// What happens when a room's message brings a parked socket back: the kernel has taken a part of the
// message, and the client talks at the same time.

// startNarrow is a server whose sockets' kernel buffers are small, so that a parked socket never takes
// a large message whole.
func startNarrow(t *testing.T) (s *server, addr string) {
	s = startParking(t, Options{})
	narrow := httptest.NewUnstartedServer(s.handler)
	narrow.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		c.(*net.TCPConn).SetWriteBuffer(4 << 10)
		return ctx
	}
	narrow.Start()
	t.Cleanup(narrow.Close)
	return s, narrow.Listener.Addr().String()
}

// TestInvariantPongNeverSplitsAMessage: pings come just when a part of a message has been taken from a
// parked socket. Each message and each pong arrives whole, in order.
func TestInvariantPongNeverSplitsAMessage(t *testing.T) {
	sockets, rounds := 200, 8
	if testing.Short() {
		sockets, rounds = 60, 6
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(12))
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	s, addr := startNarrow(t)
	var clients []*rawClient
	for range sockets {
		raw := rawDial(t, addr)
		raw.upgrade("/parties/base/home")
		clients = append(clients, raw)
	}
	joined(t, s, sockets)
	served := s.handler.open() // in the order of their handshakes
	for round := range rounds {
		parked(t, s, sockets)
		done := make(chan error, 2*sockets)
		for i, raw := range clients {
			rng := rand.New(rand.NewPCG(seed, uint64(round*sockets+i)))
			frames := someFrames(rng, i)
			pings := 1 + rng.IntN(8)
			go func() { done <- sendAmongPings(served[i], raw, pings, frames) }() // ends at once
			go func() { done <- readPushed(raw, pings) }()                        // ends when all has come, or with the test
		}
		for range cap(done) {
			if err := within(t, done, "a client"); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
}

// someFrames are messages of which the first is too large for a parked socket. Each begins with its number, and goes
// on with a letter that is the same throughout.
func someFrames(rng *rand.Rand, who int) (frames []*hibernate.Frame) {
	sizes := []int{24_000 + rng.IntN(10_000), rng.IntN(2000), rng.IntN(3000)}
	for n, size := range sizes {
		body := fmt.Appendf(nil, "%d/%d ", n, len(sizes))
		body = append(body, bytes.Repeat([]byte{byte('a' + (who+n)%26)}, size)...)
		frames = append(frames, hibernate.BinaryFrame(body))
	}
	return frames
}

// sendAmongPings sends frames to a parked socket. Half of the pings lie in the kernel then, where the reader finds
// them as soon as it runs; the others come meanwhile.
func sendAmongPings(s *socket, raw *rawClient, pings int, frames []*hibernate.Frame) error {
	s.mu.Lock()
	err := sendPings(raw, 0, pings/2)
	if s.fd >= 0 {
		s.sendParked(frames)
	} else { // a ping of the round before came late
		s.active.link.Send(frames...)
	}
	s.mu.Unlock()
	return errors.Join(err, sendPings(raw, pings/2, pings))
}

func sendPings(raw *rawClient, from, to int) error {
	for i := from; i < to; i++ {
		if _, err := raw.Write(clientFrame(opPing, []byte{byte(i)})); err != nil {
			return err
		}
	}
	return nil
}

// readPushed reads what someFrames has made, and the pongs among it.
func readPushed(raw *rawClient, pings int) error {
	messages, pongs := 0, 0
	for messages < 3 || pongs < pings {
		f, err := readFrame(raw.r)
		if err != nil {
			return fmt.Errorf("behind %d messages and %d pongs: %w", messages, pongs, err)
		}
		switch {
		case f.op == opPong && bytes.Equal(f.payload, []byte{byte(pongs)}):
			pongs++
		case f.op == opBinary && wholePushed(f.payload, messages):
			messages++
		default:
			return fmt.Errorf("behind %d messages and %d pongs: %#x %.40q", messages, pongs, f.op, f.payload)
		}
	}
	return nil
}

func wholePushed(payload []byte, n int) bool {
	head := fmt.Appendf(nil, "%d/3 ", n)
	body, ok := bytes.CutPrefix(payload, head)
	return ok && (len(body) == 0 || bytes.Count(body, body[:1]) == len(body))
}
