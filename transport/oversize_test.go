package transport

import (
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/syncproto"
)

// Messages that are too long, awake and parked.

const smallLimit = 10_000

// tooLong sends a message of so many bytes that begins with head, in so many fragments.
func tooLong(head string, size, fragments int) (frames []byte) {
	m := []byte(head + strings.Repeat("x", size-len(head)))
	for i := range fragments {
		part := m[i*len(m)/fragments : (i+1)*len(m)/fragments]
		var first byte
		if i == 0 {
			first = opText
		}
		if i == fragments-1 {
			first |= finBit
		}
		frames = append(frames, clientHeader(first, len(part), part, [4]byte{5, 6, 7, 8})...)
	}
	return frames
}

// A message over the limit is passed over and answered under its id, and so is what is in work
// beside it.
func TestOversized(t *testing.T) {
	s := startServer(t, Options{ReadLimit: smallLimit})
	const refusal = `"code":"frame_too_large"`
	for name, c := range map[string]struct{ head, want string }{
		"an action": {`{"rpc":true,"id":"big","channel":"items","action":{"type":"add","payload":{"Text":"`, `{"type":"error","rpc":true,"channel":"items","id":"big",`},
		"a sync":    {`{"sync":true,"channel":"items","pad":"`, `{"type":"exception",`},
		"no id":     {`{"rpc":true,"action":{"type":"add","payload":{"Text":"`, `{"type":"exception",`},
		"a message": {`{"do":"echo","pad":"`, `{"type":"exception",`},
		"no JSON":   {`x`, `{"type":"exception",`},
	} {
		for _, fragments := range []int{1, 2, 7} {
			for _, size := range []int{smallLimit + 1, 2 * smallLimit} {
				t.Run(fmt.Sprintf("%s of %d in %d", name, size, fragments), func(t *testing.T) {
					raw := rawDial(t, s.addr())
					raw.upgrade("/parties/probe/home")
					var all []byte
					for i := range 5 {
						all = append(all, clientFrame(opText, fmt.Appendf(nil, `{"do":"echo","i":%d}`, i))...)
					}
					all = append(all, tooLong(c.head, size, fragments)...)
					raw.send(append(all, clientFrame(opText, []byte(`{"do":"echo","last":1}`))...))
					echoes, refused := 0, 0
					for {
						f := raw.frame()
						text := string(f.payload)
						if text == `{"do":"echo","last":1}` {
							break
						}
						if strings.HasPrefix(text, `{"do":"echo"`) {
							echoes++
						} else if strings.HasPrefix(text, c.want) && strings.Contains(text, refusal) {
							refused++
						} else {
							t.Fatalf("got %#x %.200q", f.op, text)
						}
					}
					if echoes != 5 || refused != 1 {
						t.Errorf("%d echoes of 5, %d refusals", echoes, refused)
					}
				})
			}
		}
	}
}

// A message of exactly the limit is taken.
func TestReadLimitIsExact(t *testing.T) {
	s := startServer(t, Options{ReadLimit: smallLimit})
	for _, fragments := range []int{1, 4} {
		raw := rawDial(t, s.addr())
		raw.upgrade("/parties/probe/home")
		message := `{"do":"echo","pad":"` + strings.Repeat("x", smallLimit-22) + `"}`
		raw.send(tooLong(message, smallLimit, fragments))
		if f := raw.frame(); string(f.payload) != message {
			t.Fatalf("%d fragments: got %#x %.50q", fragments, f.op, f.payload)
		}
		raw.send(tooLong(message+" ", smallLimit+1, fragments))
		if f := raw.frame(); !strings.Contains(string(f.payload), `"code":"frame_too_large"`) {
			t.Fatalf("%d fragments: got %#x %.50q", fragments, f.op, f.payload)
		}
		raw.send(tooLong(message, 2*smallLimit+1, fragments))
		raw.expectClose(syncproto.CloseTooBig, "too_large")
	}
}

// A length that is over twice the limit closes the socket when it is announced.
func TestHugeLengthClosesAtOnce(t *testing.T) {
	s := startServer(t, Options{ReadLimit: smallLimit})
	for name, frames := range map[string][]byte{
		"one frame":  clientHeader(finBit|opText, 2*smallLimit+1, nil, [4]byte{}),
		"a fragment": append(clientHeader(opText, smallLimit, make([]byte, smallLimit), [4]byte{}), clientHeader(0, smallLimit+1, nil, [4]byte{})...),
	} {
		t.Run(name, func(t *testing.T) {
			raw := rawDial(t, s.addr())
			raw.upgrade("/parties/probe/home")
			raw.send(frames)
			raw.expectClose(syncproto.CloseTooBig, "too_large")
		})
	}
}

// A numbered action that is too long uses its number up: the next one passes, and the same again gets
// the same answer.
func TestOversizedNumbered(t *testing.T) {
	s := startServer(t, Options{ReadLimit: smallLimit})
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	action := func(n int) string {
		return fmt.Sprintf(`{"rpc":true,"id":"i%d","channel":"items","client":"me","mutation":%d,"action":{"type":"add","payload":{"id":"x%d","text":"`, n, n, n)
	}
	for range 2 {
		raw.send(clientFrame(opText, []byte(action(1)+`"}}}`)))
		if f := raw.frame(); !strings.Contains(string(f.payload), `"type":"success"`) {
			t.Fatalf("got %s", f.payload)
		}
		raw.send(tooLong(action(2), smallLimit+5, 1))
		if f := raw.frame(); !strings.Contains(string(f.payload), `"id":"i2"`) || !strings.Contains(string(f.payload), `"code":"frame_too_large"`) {
			t.Fatalf("got %s", f.payload)
		}
		raw.send(clientFrame(opText, []byte(action(3)+`"}}}`)))
		if f := raw.frame(); !strings.Contains(string(f.payload), `"type":"success"`) {
			t.Fatalf("got %s", f.payload)
		}
	}
}
