package syncproto_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/denrooms/den/syncproto"
)

func mustRefuse(t *testing.T, data []byte, o syncproto.DecodeOptions) *syncproto.Error {
	t.Helper()
	m, err := syncproto.Decode(data, o)
	var refused *syncproto.Error
	if !errors.As(err, &refused) {
		t.Fatalf("%.80q was accepted as %v", data, m.Kind)
	}
	if m.Kind != 0 || m.Channel != "" || m.ID != "" || m.Action != nil {
		t.Errorf("%.80q: refused, but with a message %+v", data, m)
	}
	return refused
}

// What JSON does not have is refused, wherever it stands.
func TestDecodeRefusesWhatIsNotJSON(t *testing.T) {
	values := []string{
		"", "nul", "nulL", "True", "tru e", "+1", "-", "-a", "1.", ".5", "1.e3", "1e", "1e+", "0x10", "00", "-01", "1_000", "Infinity", "'a'",
		`"`, `"a`, `"\`, `"\"`, `"\u`, `"\u12"`, `"\u12g4"`, `"\a"`, "\"\n\"", "\"\x00\"", "[", "[1", "[1,", "[,]", "[1,]", "[1 2]", "[1}", "]",
		"{", "{a:1}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{"a" 1}`, `{,}`, `{1:2}`, `{"a":1]`, "1 2", "//c\n1", "/**/1", "\v1", "\u00a01",
	}
	for _, value := range values {
		frame := []byte(`{"x":` + value + `}`)
		if json.Valid(frame) {
			t.Fatalf("%q is JSON after all", frame)
		}
		refused := mustRefuse(t, frame, syncproto.DecodeOptions{})
		if refused.Code != syncproto.CodeBadMessage || refused.Offset < 0 || refused.Offset > len(frame) {
			t.Errorf("%q: %v at %d", frame, refused, refused.Offset)
		}
	}
}

func TestDecodeAcceptsWhatIsJSON(t *testing.T) {
	values := []string{
		"null", "true", "false", "0", "-0", "10", "-1.5e-7", "1E+2", "0e0", "123456789012345678901234567890", "1e999", `""`, `"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00"`,
		"\"\x7f\u2028é😀\"", "[]", "[ ]", "[1 , 2]", "[[],{}]", "{}", "{ }", `{"":""}`, `{"a":1,"a":2}`, " \t\r\n1 \t\r\n",
	}
	for _, value := range values {
		frame := []byte(`{"x":` + value + `}`)
		if !json.Valid(frame) {
			t.Fatalf("%q is not JSON after all", frame)
		}
		m, err := syncproto.Decode(frame, syncproto.DecodeOptions{})
		if err != nil || m.Kind != syncproto.KindOther {
			t.Errorf("%q: %v, %v", frame, m.Kind, err)
		}
	}
}

// Every prefix of a message is refused, and with the id and channel as soon as
// they can be read.
func TestDecodeRefusesEveryPrefix(t *testing.T) {
	whole := `{"id":"a7","channel":"todos","rpc":true,"action":{"type":"create","payload":[1.5e3,"é\u00e9",{"x":null}]}}`
	if _, err := syncproto.Decode([]byte(whole), syncproto.DecodeOptions{}); err != nil {
		t.Fatal(err)
	}
	known := strings.Index(whole, `,"action"`)
	for i := range len(whole) {
		refused := mustRefuse(t, []byte(whole[:i]), syncproto.DecodeOptions{})
		if full := refused.ID == "a7" && refused.Channel == "todos" && refused.Kind == syncproto.KindAction; full != (i >= known) {
			t.Errorf("%s: id %q, channel %q, kind %v", whole[:i], refused.ID, refused.Channel, refused.Kind)
		}
	}
}

func TestDecodeSizeLimit(t *testing.T) {
	frame := func(size int) []byte {
		const around = len(`{"x":""}`)
		return []byte(`{"x":"` + strings.Repeat("x", size-around) + `"}`)
	}
	for _, limit := range []int{0, 100} {
		o := syncproto.DecodeOptions{MaxBytes: limit}
		size := limit
		if limit == 0 {
			size = syncproto.DefaultMaxBytes
		}
		if _, err := syncproto.Decode(frame(size), o); err != nil {
			t.Errorf("limit %d: %v", limit, err)
		}
		if refused := mustRefuse(t, frame(size+1), o); refused.Code != syncproto.CodeTooLarge || refused.Offset != -1 {
			t.Errorf("limit %d: %v", limit, refused)
		}
	}
}

func TestDecodeDepthLimit(t *testing.T) {
	nested := func(depth int) []byte { // the message is the first level
		open, end := `{"x":`, "}"
		for level := 2; level <= depth; level++ {
			if level%2 == 0 {
				open, end = open+"[", "]"+end
			} else {
				open, end = open+`{"x":`, "}"+end
			}
		}
		return []byte(open + strings.Repeat("1", depth%2) + end)
	}
	for _, c := range []struct{ option, limit int }{{0, 64}, {-1, 64}, {3, 3}, {10, 10}, {5000, 1000}} {
		for depth := max(2, c.limit-1); depth <= c.limit+1; depth++ {
			data := nested(depth)
			if !json.Valid(data) {
				t.Fatalf("depth %d: %s is not JSON", depth, data)
			}
			_, err := syncproto.Decode(data, syncproto.DecodeOptions{MaxDepth: c.option})
			if (err == nil) != (depth <= c.limit) {
				t.Errorf("option %d: depth %d: %v", c.option, depth, err)
			}
		}
	}
}

// The strings of a message are copies, its raw values are not.
func TestDecodeAliasing(t *testing.T) {
	data := []byte(`{"id":"abc","channel":"todos","rpc":true,"action":{"type":"create","payload":{"n":1}}}`)
	m, err := syncproto.Decode(data, syncproto.DecodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cap(m.Payload) != len(m.Payload) || cap(m.Action) != len(m.Action) {
		t.Error("an append to a raw value would write into the frame")
	}
	if i := bytes.Index(data, []byte(`{"n"`)); &m.Payload[0] != &data[i] {
		t.Error("the payload was copied")
	}
	for i := range data {
		data[i] = 'X'
	}
	if m.ID != "abc" || m.Channel != "todos" || m.ActionType != "create" {
		t.Errorf("the strings changed with the frame: %q %q %q", m.ID, m.Channel, m.ActionType)
	}

	data = []byte(`{"channel":"todos","sync":true,"from":"2025"}`)
	if m, err = syncproto.Decode(data, syncproto.DecodeOptions{}); err != nil {
		t.Fatal(err)
	}
	clear(data)
	if m.Channel != "todos" || m.From.Text != "2025" {
		t.Errorf("the strings changed with the frame: %q %q", m.Channel, m.From.Text)
	}
}

func TestDecodeFromNumbers(t *testing.T) {
	cases := map[string]any{
		"0": int64(0), "-0": int64(0), "-5": int64(-5), "9223372036854775807": int64(1<<63 - 1), "-9223372036854775808": int64(-1 << 63),
		"9223372036854775808": float64(1 << 63), "1.0": 1.0, "1e3": 1000.0, "1e-999": 0.0, `""`: "", "null": nil,
	}
	for text, want := range cases {
		m, err := syncproto.Decode([]byte(`{"sync":true,"channel":"c","from":`+text+`}`), syncproto.DecodeOptions{})
		if err != nil || m.From.Value() != want {
			t.Errorf("%s: %#v (%v), want %#v", text, m.From.Value(), err, want)
		}
	}
	for _, text := range []string{"1e400", "-1e400", "false", "{}", "[]", "1" + strings.Repeat("0", 200), `"` + strings.Repeat("0", 129) + `"`, `"\udc00"`} {
		if refused := mustRefuse(t, []byte(`{"sync":true,"channel":"c","from":`+text+`}`), syncproto.DecodeOptions{}); refused.Channel != "c" || !strings.Contains(refused.Message, `"from"`) {
			t.Errorf("%s: %v", text, refused)
		}
	}
}

// What goes back to the client holds next to nothing of what came from it.
func TestDecodeErrorsDoNotEcho(t *testing.T) {
	secret := "hunter2hunter2"
	for _, frame := range []string{
		secret, `{"` + secret, `{"` + secret + `":}`, `{"` + secret + `":` + secret + `}`, `{"sync":"` + secret + `"}`, `{"sync":true,"channel":["` + secret + `"]}`,
		`{"sync":true,"channel":"c","from":{"` + secret + `":1}}`, `{"rpc":true,"id":"i","channel":"c","action":"` + secret + `"}`,
		`{"rpc":true,"id":"i","channel":"c","action":{"type":["` + secret + `"]}}`, `{"x":"` + secret + "\xff",
	} {
		refused := mustRefuse(t, []byte(frame), syncproto.DecodeOptions{})
		if answer := refused.AppendFrame(nil); bytes.Contains(answer, []byte("hu")) || len(answer) > 250 {
			t.Errorf("%s: %s", frame, answer)
		}
	}
}

func TestErrorFrameFollowsKind(t *testing.T) {
	e := syncproto.Error{Code: syncproto.CodeBadMessage, Message: "m", ID: "i", Channel: "c"}
	for kind, want := range map[syncproto.Kind]string{
		0:                    `{"type":"exception","rpc":true,"exception":["m"],"code":"bad_message"}`,
		syncproto.KindOther:  `{"type":"exception","rpc":true,"exception":["m"],"code":"bad_message"}`,
		syncproto.KindSync:   `{"type":"exception","rpc":true,"exception":["m"],"code":"bad_message","channel":"c"}`,
		syncproto.KindAction: `{"type":"error","rpc":true,"channel":"c","id":"i","error":["m"],"code":"bad_message"}`,
	} {
		e.Kind = kind
		if got := e.AppendFrame(nil); string(got) != want {
			t.Errorf("%v: %s", kind, got)
		}
	}
	if e.Error() != "bad_message: m" {
		t.Error(e.Error())
	}
}

func TestDecodeAllocations(t *testing.T) {
	for frame, want := range map[string]float64{
		`{"id":"V1StGXR8","channel":"todos","rpc":true,"action":{"type":"create","payload":{"id":"t1"}}}`: 1,
		`{"channel":"todos","sync":true,"from":null}`:                                                     1,
		`{"id":"V1StGXR8","channel":"todos","rpc":true,"client":"c","mutation":7,"action":{"type":"x"}}`:  1,
		`{"type":"cursor","x":1,"y":[1,2,3]}`:                                                             0,
		`{"presence":{"x":1,"y":[1,2,3]}}`:                                                                0,
	} {
		data := []byte(frame)
		got := testing.AllocsPerRun(100, func() {
			if _, err := syncproto.Decode(data, syncproto.DecodeOptions{}); err != nil {
				t.Fatal(err)
			}
		})
		if got > want {
			t.Errorf("%s: %v allocations, want at most %v", frame, got, want)
		}
	}
}

// FuzzDecode holds Decode against encoding/json: both must agree on what is
// JSON, and on what is in it.
func FuzzDecode(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.Direction == "client" && (v.Repeat == nil || v.Repeat.Times < 1000) {
			f.Add(v.frame(f))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		m, err := syncproto.Decode(data, syncproto.DecodeOptions{})
		if !bytes.Equal(before, data) {
			t.Fatal("the frame was changed")
		}
		isJSON := json.Valid(data) && utf8.Valid(data)
		if err != nil {
			checkRefusal(t, data, err, isJSON)
			return
		}
		if !isJSON {
			t.Fatalf("accepted %q, which is not JSON in UTF-8", data)
		}
		checkAgainstJSON(t, data, m)
	})
}

func checkRefusal(t *testing.T, data []byte, err error, isJSON bool) {
	t.Helper()
	var refused *syncproto.Error
	if !errors.As(err, &refused) {
		t.Fatalf("an error of another type: %v", err)
	}
	if refused.Offset < -1 || refused.Offset > len(data) || len(refused.Message) > 120 || !utf8.ValidString(refused.Message) {
		t.Fatalf("%q: offset %d, message %q", data, refused.Offset, refused.Message)
	}
	if answer := refused.AppendFrame(nil); !json.Valid(answer) || bytes.ContainsAny(answer, "\n\r") {
		t.Fatalf("%q: answer %s", data, answer)
	}
	if syntax := strings.HasPrefix(refused.Message, "not valid"); syntax == isJSON && !strings.HasPrefix(refused.Message, "nested") && refused.Code != syncproto.CodeTooLarge {
		t.Fatalf("%q: %v, but encoding/json says valid = %v", data, refused, isJSON)
	}
}

func checkAgainstJSON(t *testing.T, data []byte, m syncproto.Message) {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		t.Fatalf("accepted %q: %v", data, err)
	}
	is := func(name string) bool { return string(members[name]) == "true" }
	text := func(raw json.RawMessage) (s string) {
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		return s
	}
	switch m.Kind {
	case syncproto.KindSync:
		if !is("sync") || is("rpc") || text(members["channel"]) != m.Channel {
			t.Fatalf("%q: %+v", data, m)
		}
		if m.From.Kind == syncproto.FromText && text(members["from"]) != m.From.Text {
			t.Fatalf("%q: from %+v", data, m.From)
		}
		if m.Since == syncproto.SinceCursor && text(members["cursor"]) != m.Cursor.String() {
			t.Fatalf("%q: cursor %v", data, m.Cursor)
		}
	case syncproto.KindAction:
		var action map[string]json.RawMessage
		if err := json.Unmarshal(members["action"], &action); err != nil || !is("rpc") || is("sync") {
			t.Fatalf("%q: %v", data, err)
		}
		if m.Mutation != 0 && (text(members["client"]) != m.Client || string(members["mutation"]) != strconv.FormatUint(m.Mutation, 10)) {
			t.Fatalf("%q: %+v", data, m)
		}
		if text(members["channel"]) != m.Channel || text(members["id"]) != m.ID || text(action["type"]) != m.ActionType ||
			!bytes.Equal(members["action"], m.Action) || !bytes.Equal(action["payload"], m.Payload) {
			t.Fatalf("%q: %+v", data, m)
		}
	case syncproto.KindPresence:
		if is("sync") || is("rpc") || m.Presence == nil || !bytes.Equal(members["presence"], m.Presence) {
			t.Fatalf("%q: %+v", data, m)
		}
	default:
		if _, has := members["presence"]; is("sync") || is("rpc") || has || m.Kind != syncproto.KindOther {
			t.Fatalf("%q: %v", data, m.Kind)
		}
	}
}
