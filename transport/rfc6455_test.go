package transport

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/syncproto"
)

// RFC 6455 as the Autobahn test suite checks it: the names are those of its cases. (Its cases 9 are of
// speed, 12 and 13 of compression, which Den does not offer.) Each is sent to a socket that
// is awake and to one that is parked, in one piece and byte by byte.

// A wireCase is what a client sends, and what the server must say to it.
type wireCase struct {
	name  string
	sent  [][]byte
	want  []rawFrame // the server's answers, without what a socket is asked at the end
	close int        // the code with which the socket ends, which may be before the answers; 0: it lives on
}

var caseMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// part makes a frame that need not be the last of its message.
func part(first byte, payload string) []byte {
	return clientHeader(first, len(payload), []byte(payload), caseMask)
}

// binary messages are sent back by the room as they are.
func echoed(payload string) rawFrame { return rawFrame{op: opBinary, payload: []byte(payload)} }
func ponged(payload string) rawFrame { return rawFrame{op: opPong, payload: []byte(payload)} }

// texts are sent back if they are this message.
func asText(s string) string          { return `{"do":"echo","s":"` + s + `"}` }
func textEchoed(text string) rawFrame { return rawFrame{op: opText, payload: []byte(text)} }

func frameCases() (list []wireCase) {
	add := func(name string, close int, want []rawFrame, sent ...[]byte) {
		list = append(list, wireCase{name, sent, want, close})
	}
	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536} {
		payload := strings.Repeat("*", n)
		add(fmt.Sprintf("1.2.%d binary of %d", i+1, n), 0, []rawFrame{echoed(payload)}, part(finBit|opBinary, payload))
		if n > 30 {
			text := asText(payload[30:])
			add(fmt.Sprintf("1.1.%d text of %d", i+1, len(text)), 0, []rawFrame{textEchoed(text)}, part(finBit|opText, text))
		}
	}
	add("2.1 empty ping", 0, []rawFrame{ponged("")}, part(finBit|opPing, ""))
	add("2.2 ping", 0, []rawFrame{ponged("Hello")}, part(finBit|opPing, "Hello"))
	add("2.3 binary ping", 0, []rawFrame{ponged("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")}, part(finBit|opPing, "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"))
	add("2.4 longest ping", 0, []rawFrame{ponged(strings.Repeat("\xfe", 125))}, part(finBit|opPing, strings.Repeat("\xfe", 125)))
	add("2.5 too long a ping", closeProtocol, nil, part(finBit|opPing, strings.Repeat("\xfe", 126)))
	add("2.7 empty pong", 0, nil, part(finBit|opPong, ""))
	add("2.8 pong", 0, nil, part(finBit|opPong, "unasked"))
	add("2.9 pong and ping", 0, []rawFrame{ponged("p")}, part(finBit|opPong, "unasked"), part(finBit|opPing, "p"))
	var pings [][]byte
	var pongs []rawFrame
	for i := range 10 {
		pings = append(pings, part(finBit|opPing, fmt.Sprint(i)))
		pongs = append(pongs, ponged(fmt.Sprint(i)))
	}
	add("2.10 ten pings", 0, pongs, pings...)
	for i, first := range []byte{0x40 | finBit | opText, 0x20 | finBit | opText, 0x30 | finBit | opText, 0x40 | finBit | opBinary, 0x50 | finBit | opPing, 0x60 | finBit | opClose, 0x70 | finBit | opBinary} {
		add(fmt.Sprintf("3.%d reserved bits", i+1), closeProtocol, nil, part(first, "Hello"))
	}
	add("3.1 reserved bits of a continuation", closeProtocol, nil, part(opBinary, "a"), part(0x40|finBit, "b"))
	for i := range byte(5) {
		add(fmt.Sprintf("4.1.%d reserved opcode", i+1), closeProtocol, nil, part(finBit|(3+i), strings.Repeat("x", int(i))))
		add(fmt.Sprintf("4.2.%d reserved control opcode", i+1), closeProtocol, nil, part(finBit|(0xB+i), strings.Repeat("x", int(i))))
	}
	for name, frame := range map[string][]byte{"text": {0x81, 2, '{', '}'}, "ping": {0x89, 0}, "close": {0x88, 0}, "empty": {0x82, 0}} {
		add("no mask: "+name, closeProtocol, nil, frame)
	}
	add("a length with the highest bit", closeProtocol, nil, append([]byte{0x82, 0xff}, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4))
	add("a length that is too large", syncproto.CloseTooBig, nil, append([]byte{0x82, 0xff}, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4))
	add("a zero mask", 0, []rawFrame{echoed("plain")}, clientHeader(finBit|opBinary, 5, []byte("plain"), [4]byte{}))
	return list
}

func fragmentCases() (list []wireCase) {
	add := func(name string, close int, want []rawFrame, sent ...[]byte) {
		list = append(list, wireCase{name, sent, want, close})
	}
	hello := asText("héllo €")
	one, two := hello[:20], hello[20:]
	add("5.1 ping in fragments", closeProtocol, nil, part(opPing, "fragment1"), part(finBit, "fragment2"))
	add("5.2 pong in fragments", closeProtocol, nil, part(opPong, "fragment1"), part(finBit, "fragment2"))
	add("5.3 text in two", 0, []rawFrame{textEchoed(hello)}, part(opText, one), part(finBit, two))
	add("5.6 a ping between", 0, []rawFrame{ponged("ping"), textEchoed(hello)}, part(opText, one), part(finBit|opPing, "ping"), part(finBit, two))
	add("5.9 continuation of nothing", closeProtocol, nil, part(finBit, "non-continuation"), part(finBit|opText, hello))
	add("5.12 unfinished continuation of nothing", closeProtocol, nil, part(0, "non-continuation"), part(finBit|opText, hello))
	add("5.15 continuation after a message", closeProtocol, []rawFrame{textEchoed(hello)}, part(opText, one), part(finBit, two), part(0, "fragment3"), part(finBit|opText, "fragment4"))
	add("5.18 text inside a text", closeProtocol, nil, part(opText, one), part(finBit|opText, two))
	add("5.18 binary inside a text", closeProtocol, nil, part(opText, one), part(finBit|opBinary, two))
	add("5.19 pings between five", 0, []rawFrame{ponged("1"), ponged("2"), echoed("abcde")},
		part(opBinary, "a"), part(0, "b"), part(finBit|opPing, "1"), part(0, "c"), part(0, "d"), part(finBit|opPing, "2"), part(finBit, "e"))
	add("6.1.2 empty fragments", 0, []rawFrame{echoed("")}, part(opBinary, ""), part(0, ""), part(finBit, ""))
	add("6.1.3 empty around one", 0, []rawFrame{echoed("payload")}, part(opBinary, ""), part(0, "payload"), part(finBit, ""))
	bytewise := [][]byte{part(opText, hello[:1])}
	for i := 1; i < len(hello); i++ {
		bytewise = append(bytewise, part(0, hello[i:i+1]))
	}
	add("6.2.3 a byte a fragment", 0, []rawFrame{textEchoed(hello)}, append(bytewise, part(finBit, ""))...)
	add("close in fragments", closeProtocol, nil, part(opClose, "\x03\xe8"), part(finBit, ""))
	add("close inside a message", 1000, nil, part(opText, one), part(finBit|opClose, "\x03\xe8"))
	return list
}

func closeCases() (list []wireCase) {
	add := func(name string, close int, want []rawFrame, sent ...[]byte) {
		list = append(list, wireCase{name, sent, want, close})
	}
	coded := func(code int, reason string) []byte {
		return part(finBit|opClose, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+reason)
	}
	hello := asText("hello")
	add("7.1.1 message and close", 1000, []rawFrame{textEchoed(hello)}, part(finBit|opText, hello), coded(1000, ""))
	add("7.1.2 two closes", 1000, nil, coded(1000, ""), coded(1000, ""))
	add("7.1.3 close and ping", 1000, nil, coded(1000, ""), part(finBit|opPing, "late"))
	add("7.1.4 close and text", 1000, nil, coded(1000, ""), part(finBit|opText, hello))
	add("7.1.5 close inside a message", 1000, nil, part(opText, hello[:5]), coded(1000, ""), part(finBit, hello[5:]))
	add("7.3.1 no payload", closeNoStatus, nil, part(finBit|opClose, ""))
	add("7.3.2 one byte", closeProtocol, nil, part(finBit|opClose, "a"))
	add("7.3.3 only a code", 1000, nil, coded(1000, ""))
	add("7.3.4 a reason", 1000, nil, coded(1000, "Hello World!"))
	add("7.3.5 the longest reason", 1000, nil, coded(1000, strings.Repeat("*", 123)))
	add("7.3.6 too long a reason", closeProtocol, nil, coded(1000, strings.Repeat("*", 124)))
	add("7.5.1 a reason that is not UTF-8", syncproto.CloseInvalidData, nil, coded(1000, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"))
	for i, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		add(fmt.Sprintf("7.7.%d code %d", i+1, code), code, nil, coded(code, ""))
	}
	for i, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		add(fmt.Sprintf("7.9.%d code %d", i+1, code), closeProtocol, nil, coded(code, ""))
	}
	return list
}

// utf8Cases are Markus Kuhn's, which Autobahn has as 6.5 to 6.23; 6.3 and 6.4 are about when
// a text is found out.
func utf8Cases() (list []wireCase) {
	valid := []string{"hello$world", "hello\u00a2world", "hello\u20acworld", "hello\U00024b62world", "\u03ba\u1f79\u03c3\u03bc\u03b5",
		"\u0080", "\u0800", "\U00010000", "\x7f", "\u07ff", "\uffff", "\U0010ffff", "\ud7ff", "\ue000", "\ufffd", "\ufffe", "\U0001ffff", "\U000fffff"}
	invalid := []string{
		"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf", "\xf4\x90\x80\x80",
		"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80\xbf\x80\xbf", "\xc0 \xc1 \xdf ", "\xe0 \xef ", "\xf0 \xf7 ", "\xf8 \xfb ", "\xfc \xfd ",
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xfc\x80\x80\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfb\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf",
		"\xfe", "\xff", "\xfe\xfe\xff\xff", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf",
		"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80",
		"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf",
	}
	for i, s := range valid {
		text := asText(s)
		list = append(list, wireCase{fmt.Sprintf("6 valid %d", i), [][]byte{part(finBit|opText, text)}, []rawFrame{textEchoed(text)}, 0})
		for cut := 18; cut < 18+len(s); cut++ {
			list = append(list, wireCase{fmt.Sprintf("6 valid %d cut at %d", i, cut), [][]byte{part(opText, text[:cut]), part(finBit, text[cut:])}, []rawFrame{textEchoed(text)}, 0})
		}
	}
	for i, s := range invalid {
		list = append(list,
			wireCase{fmt.Sprintf("6 invalid %d", i), [][]byte{part(finBit|opText, s)}, nil, syncproto.CloseInvalidData},
			wireCase{fmt.Sprintf("6 invalid %d in a text", i), [][]byte{part(finBit|opText, asText(s))}, nil, syncproto.CloseInvalidData},
			wireCase{fmt.Sprintf("6 invalid %d in two", i), [][]byte{part(opText, s[:1]), part(finBit, s[1:])}, nil, syncproto.CloseInvalidData})
	}
	const good, bad, rest = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", "\xf4\x90\x80\x80", "edited"
	return append(list,
		wireCase{"6.4.1 the second of three is bad", [][]byte{part(opText, good), part(0, bad)}, nil, syncproto.CloseInvalidData},
		wireCase{"6.4.2 up to the byte that is bad", [][]byte{part(opText, good+bad[:1]), part(0, bad[1:2])}, nil, syncproto.CloseInvalidData},
		wireCase{"6.4.3 a part of a frame", [][]byte{part(finBit|opText, good+bad+rest)[:6+len(good)+2]}, nil, syncproto.CloseInvalidData})
}

func TestRFC6455(t *testing.T) {
	cases := append(append(append(frameCases(), fragmentCases()...), closeCases()...), utf8Cases()...)
	t.Logf("%d cases", len(cases))
	for _, mode := range []struct {
		name     string
		o        Options
		bytewise bool
	}{
		{"awake", Options{ParkAfter: -1}, false},
		{"awake, byte by byte", Options{ParkAfter: -1}, true},
		{"parked", Options{ParkAfter: 1}, false},
		{"parked, byte by byte", Options{ParkAfter: 1}, true},
	} {
		t.Run(mode.name, func(t *testing.T) {
			s := startServer(t, mode.o)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, s, mode.bytewise) })
			}
		})
	}
}

func (c wireCase) run(t *testing.T, s *server, bytewise bool) {
	raw := rawDial(t, s.addr())
	raw.upgrade("/parties/probe/home")
	if s.handler.opts.ParkAfter >= 0 && canPark(raw.Conn) {
		eventually(t, "the socket to be parked", func() bool { return s.handler.Parked() == s.handler.Connections() })
	}
	var all []byte
	for _, b := range c.sent {
		all = append(all, b...)
	}
	if bytewise && len(all) < 300 {
		for i := range all {
			if _, err := raw.Write(all[i : i+1]); err != nil {
				break // it has been closed already, which is seen below
			}
		}
	} else {
		raw.Write(all)
	}
	const still = `{"do":"echo","still":"here"}`
	if c.close == 0 {
		raw.send(clientFrame(opText, []byte(still)))
	}
	for _, want := range append(c.want, rawFrame{}) {
		f := raw.frame()
		if f.op == opClose {
			want = rawFrame{}
		}
		switch {
		case want.op == 0 && c.close == 0:
			if string(f.payload) != still {
				t.Fatalf("at last came %#x %.60q", f.op, f.payload)
			}
		case want.op == 0:
			if code, reason := f.close(); f.op != opClose || code != c.close {
				t.Fatalf("got %#x %d %.60q, want a close with %d", f.op, code, reason, c.close)
			}
			raw.Close()
			return
		case f.op != want.op || string(f.payload) != string(want.payload):
			t.Fatalf("got %#x %.60q, want %#x %.60q", f.op, f.payload, want.op, want.payload)
		}
	}
	raw.Close()
}
