package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/denrooms/den/hibernate"
)

// What the probe rooms answer without being asked.
const (
	autoRequest  = `"are you there?"`
	autoResponse = `"always"`
)

// A script is what a client of TestInvariantParkedFramesArriveWhole sends: a stream of
// bytes, and what must come back for it.
type script struct {
	stream []byte
	echoes [][]byte // binary messages, in this order
	pongs  []string // in this order
	autos  int
}

// write makes the frames of n random messages.
func (s *script) write(rng *rand.Rand, n int) {
	sizes := []int{0, 4, 5, 100, 125, 126, 300, 500, 505, 506, 507, 512, 600, 1000, 4096, 65535, 65536, 70_000}
	for serial := range n {
		if rng.IntN(6) == 0 {
			s.ping(rng)
		}
		if rng.IntN(6) == 0 {
			s.message(rng, opText, []byte(autoRequest), 1+rng.IntN(2))
			s.autos++
		}
		payload := make([]byte, sizes[min(rng.IntN(len(sizes)), rng.IntN(len(sizes)))])
		if len(payload) >= 4 {
			binary.BigEndian.PutUint32(payload, uint32(serial))
		}
		s.echoes = append(s.echoes, payload)
		s.message(rng, 2, payload, 1+rng.IntN(3))
	}
}

// message writes one in several frames, with pings between them.
func (s *script) message(rng *rand.Rand, op byte, payload []byte, frames int) {
	for i := range frames {
		part := payload[i*len(payload)/frames : (i+1)*len(payload)/frames]
		first := op
		if i > 0 {
			first = 0
		}
		if i == frames-1 {
			first |= finBit
		}
		var mask [4]byte
		binary.BigEndian.PutUint32(mask[:], rng.Uint32())
		s.stream = append(s.stream, clientHeader(first, len(part), part, mask)...)
		if i < frames-1 && rng.IntN(2) == 0 {
			s.ping(rng)
		}
	}
}

func (s *script) ping(rng *rand.Rand) {
	payload := strings.Repeat("p", rng.IntN(126))
	s.stream = append(s.stream, clientFrame(opPing, []byte(payload))...)
	s.pongs = append(s.pongs, payload)
}

// TestInvariantParkedFramesArriveWhole: however a client's bytes are cut up on their way, and
// whatever the room sends meanwhile, each message arrives once, whole and in order, both ways.
func TestInvariantParkedFramesArriveWhole(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	s := startServer(t, Options{})
	other := s.dial("/parties/probe/home")
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	joined(t, s, 2)
	var plan script
	plan.write(rng, 300)
	const bursts, each = 60, 5
	go func() { // ends when all is written or the connection is closed
		for rest := plan.stream; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(1+rng.IntN(1500)))
			if _, err := raw.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	go func() { // ends when all is written or the connection is closed
		for i := range bursts {
			message := fmt.Sprintf(`{"do":"burst","n":%d,"len":%d}`, each, 10*(i%300))
			if other.ws.Write(t.Context(), 1, []byte(message)) != nil {
				return
			}
		}
	}()
	go func() { // ends with the connection
		for {
			if _, _, err := other.ws.Read(t.Context()); err != nil {
				return
			}
		}
	}()
	echoes, pongs, autos, sent := 0, 0, 0, 0
	for echoes < len(plan.echoes) || pongs < len(plan.pongs) || autos < plan.autos || sent < bursts*each {
		f := raw.frame()
		switch {
		case f.op == 2:
			if echoes >= len(plan.echoes) || !bytes.Equal(f.payload, plan.echoes[echoes]) {
				t.Fatalf("echo %d has %d bytes: % x", echoes, len(f.payload), f.payload[:min(8, len(f.payload))])
			}
			echoes++
		case f.op == opPong:
			if pongs >= len(plan.pongs) || string(f.payload) != plan.pongs[pongs] {
				t.Fatalf("pong %d is %q", pongs, f.payload)
			}
			pongs++
		case string(f.payload) == autoResponse:
			autos++
		case f.op == opText:
			if want := fmt.Sprintf(`{"n":%d,`, sent%each); !strings.HasPrefix(string(f.payload), want) {
				t.Fatalf("the room's message %d is %.30q", sent, f.payload)
			}
			sent++
		default:
			t.Fatalf("got %#x %q", f.op, f.payload)
		}
	}
	raw.send(clientFrame(opClose, []byte{3, 0xe8}))
	raw.expectClose(1000, "") // and nothing came twice
}

// A read is between two messages where one has ended and nothing more has come, and nowhere else,
// however the bytes come: only there may a socket be parked.
func TestBetweenMessages(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	ends := map[int]bool{0: true}
	var plan script
	for range 200 {
		if rng.IntN(3) == 0 {
			plan.ping(rng)
		} else {
			plan.message(rng, 2, make([]byte, rng.IntN(200)*rng.IntN(1000)), 1+rng.IntN(4))
		}
		ends[len(plan.stream)] = true
	}
	for round := range 50 {
		at, times := 0, 0
		r := &reader{limit: 1 << 20, control: func(byte, []byte) error { return nil }, began: func(bool) {}, memory: newUnfinished(hibernate.NewMemory(1<<30), 0, func() {})}
		r.source = func(p []byte, between bool) (int, error) {
			if between != ends[at] {
				t.Fatalf("round %d, byte %d: between messages is %v", round, at, between)
			}
			if between {
				times++
			}
			if at == len(plan.stream) {
				return 0, io.EOF
			}
			n := copy(p, plan.stream[at:min(len(plan.stream), at+1+rng.IntN(1+rng.IntN(5000)))])
			at += n
			return n, nil
		}
		var err error
		for err == nil {
			_, err = r.next(nil)
			r.release()
		}
		if !errors.Is(err, io.EOF) || times < 2 {
			t.Fatalf("round %d: %d times between messages, %v", round, times, err)
		}
	}
}

// What is answered at a glance is whole; the rest is left to a reader.
func TestWholeFrame(t *testing.T) {
	mask := [4]byte{9, 8, 7, 6}
	text := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		data    []byte
		op      byte
		payload string
	}{
		"ping":           {clientFrame(opPing, []byte("hello")), opPing, "hello"},
		"empty pong":     {clientFrame(opPong, nil), opPong, ""},
		"text":           {clientFrame(opText, []byte(text)), opText, text},
		"two frames":     {append(clientFrame(opPing, []byte("1")), clientFrame(opPing, []byte("2"))...), opPing, "1"},
		"half":           {clientFrame(opText, []byte(text))[:200], 0, ""},
		"half a header":  {clientFrame(opText, []byte(text))[:7], 0, ""},
		"one byte":       {[]byte{0x81}, 0, ""},
		"not the last":   {clientHeader(opText, 2, []byte("xx"), mask), 0, ""},
		"reserved bit":   {clientHeader(finBit|0x40|opText, 2, []byte("xx"), mask), 0, ""},
		"not masked":     {[]byte{0x89, 4, 1, 2, 3, 4}, 0, ""},
		"long ping":      {clientHeader(finBit|opPing, 126, make([]byte, 126), mask), 0, ""},
		"eight byte len": {clientHeader(finBit|opText, 70_000, make([]byte, 70_000), mask), 0, ""},
	} {
		op, payload, size := wholeFrame(c.data)
		if op != c.op || string(payload) != c.payload || (size > 0) != (c.op != 0) {
			t.Errorf("%s: %#x %q, %d bytes", name, op, payload, size)
		}
	}
}
