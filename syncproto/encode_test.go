package syncproto_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/denrooms/den/syncproto"
)

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"":                   `""`,
		"milk":               `"milk"`,
		`a"b\c/d`:            `"a\"b\\c/d"`,
		"\x00\x1f\b\t\n\f\r": `"\u0000\u001f\b\t\n\f\r"`,
		"<b>&\x7f":           "\"<b>&\x7f\"",
		"é\u2028\u2029😀":     "\"é\u2028\u2029😀\"",
		"\ufffd":             "\"\ufffd\"",
		"a\xffb":             "\"a\ufffdb\"",
		"\xe2\x82":           "\"\ufffd\ufffd\"",
		"\xed\xa0\x80":       "\"\ufffd\ufffd\ufffd\"",
		"\xf0\x9f\x98\"":     "\"\ufffd\ufffd\ufffd\\\"\"",
	} {
		if got := syncproto.AppendString([]byte("x"), in); string(got) != "x"+want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		if got := syncproto.AppendString(nil, []byte(in)); string(got) != want {
			t.Errorf("%q as bytes: %s, want %s", in, got, want)
		}
	}
}

// The right column is what JSON.stringify gives for the number.
func TestAppendFloat(t *testing.T) {
	for _, c := range []struct {
		in   float64
		want string
	}{
		{0, "0"}, {math.Copysign(0, -1), "0"}, {1, "1"}, {-1.5, "-1.5"}, {0.1, "0.1"}, {1.0 / 3, "0.3333333333333333"},
		{1763690400123, "1763690400123"}, {9007199254740991, "9007199254740991"}, {9007199254740992, "9007199254740992"},
		{1e20, "100000000000000000000"}, {123456789012345680000, "123456789012345680000"}, {1e21, "1e+21"}, {-1.5e21, "-1.5e+21"},
		{1e100, "1e+100"}, {math.MaxFloat64, "1.7976931348623157e+308"}, {5e-324, "5e-324"},
		{1e-6, "0.000001"}, {1.5e-6, "0.0000015"}, {1e-7, "1e-7"}, {-1.5e-9, "-1.5e-9"}, {1e-10, "1e-10"}, {1e-100, "1e-100"},
		{math.NaN(), "null"}, {math.Inf(1), "null"}, {math.Inf(-1), "null"},
	} {
		got := string(syncproto.AppendFloat(nil, c.in))
		if got != c.want {
			t.Errorf("%v: %s, want %s", c.in, got, c.want)
		}
		if back, err := strconv.ParseFloat(got, 64); c.want != "null" && (err != nil || back != c.in) {
			t.Errorf("%v: %s reads back as %v", c.in, got, back)
		}
	}
}

func TestAppendRow(t *testing.T) {
	row := []any{
		nil, int64(math.MinInt64), int64(1<<53 + 1), 2.0, "t\"", []byte{0, 1, 254}, []byte(nil), []byte{}, true, false,
		int(-1), int8(-8), int16(-16), int32(-32), uint(1), uint8(8), uint16(16), uint32(32), uint64(math.MaxUint64), float32(0.5),
	}
	want := `[null,-9223372036854775808,9007199254740993,2,"t\"","AAH+","","",true,false,` +
		`-1,-8,-16,-32,1,8,16,32,18446744073709551615,0.5]`
	if got := syncproto.AppendRow(nil, row); string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := syncproto.AppendRow(nil, nil); string(got) != "[]" {
		t.Errorf("no values: %s", got)
	}
}

func TestAppendValuePanicsOnOtherTypes(t *testing.T) {
	defer func() {
		if got, _ := recover().(string); !strings.Contains(got, "map[string]int") {
			t.Errorf("panic %q does not name the type", got)
		}
	}()
	syncproto.AppendValue(nil, map[string]int{})
	t.Error("no panic")
}

func TestAppendSeparator(t *testing.T) {
	for in, want := range map[string]string{"": "", "[": "[", `{"payload":[`: `{"payload":[`, "[1": "[1,", "[1]": "[1],", `["["`: `["[",`} {
		if got := syncproto.AppendSeparator([]byte(in)); string(got) != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// Whatever the strings hold, a frame is one line of JSON, and reads back.
func TestFramesAreJSON(t *testing.T) {
	const nasty = "\"\\\n\r\x00\xff\u2028</script>😀"
	clean := strings.ToValidUTF8(nasty, "\ufffd")
	rows := syncproto.AppendRow(nil, []any{nasty, []byte(nasty), math.Inf(1)})
	frames := map[string][]byte{
		"sync":       syncproto.AppendSyncEnd(append(syncproto.AppendSyncStart(nil, nasty), rows...), "c.1"),
		"sync more":  syncproto.AppendSyncMore(append(syncproto.AppendSyncStart(nil, nasty), rows...), "c.1"),
		"update":     syncproto.AppendUpdate(nil, nasty, rows, "c.1"),
		"delete-all": syncproto.AppendDeleteAll(nil, nasty, "c.1"),
		"success":    syncproto.AppendSuccess(nil, nasty, nasty, rows, json.RawMessage(`1`), "c.1"),
		"sync reset": syncproto.AppendSyncReset(nil, nasty, syncproto.ResetEpoch),
		"gap":        syncproto.AppendReply(nil, syncproto.Reply{Channel: nasty, ID: nasty, Number: nasty, Code: nasty, Message: nasty, Next: 7, Now: 8}),
		"error":      syncproto.AppendError(nil, nasty, nasty, nasty, nasty),
		"exception":  syncproto.AppendChannelException(nil, nasty, nasty, nasty),
	}
	for name, frame := range frames {
		var got struct {
			Channel, ID, Code string
			Error, Exception  []string
		}
		if err := json.Unmarshal(frame, &got); err != nil || bytes.ContainsAny(frame, "\n\r") {
			t.Errorf("%s: %s (%v)", name, frame, err)
			continue
		}
		texts := append(append([]string{got.Channel}, got.Error...), got.Exception...)
		if name == "success" || name == "error" || name == "gap" {
			texts = append(texts, got.ID)
		}
		for _, text := range texts {
			if text != clean {
				t.Errorf("%s: %q came back", name, text)
			}
		}
	}
	var roomError struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(syncproto.AppendRoomError(nil, nasty, nasty), &roomError); err != nil || roomError.Error.Code != clean || roomError.Error.Message != clean {
		t.Errorf("room error: %+v (%v)", roomError, err)
	}
}

func TestEncodeAllocations(t *testing.T) {
	row := []any{"t1", "é \"milk\"", int64(0), 1.5, []byte("blob"), nil}
	buf := make([]byte, 0, 4096)
	got := testing.AllocsPerRun(100, func() {
		b := syncproto.AppendUpdateStart(buf, "todos")
		b = syncproto.AppendRow(syncproto.AppendSeparator(b), row)
		b = syncproto.AppendUpdateEnd(b, "")
		if len(b) == 0 || cap(b) != cap(buf) {
			t.Fatal("the buffer was left")
		}
	})
	if got != 0 {
		t.Errorf("%v allocations a frame, want none", got)
	}
}

// FuzzAppendString: what is written must be JSON that encoding/json reads back
// as it reads its own, and both forms of the argument must give the same.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "milk", "\"\\\n\x00\x1f\x7f", "é\u2028😀", "\xff", "\xed\xa0\x80", "a\xf0\x9f\x98"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := syncproto.AppendString(nil, s)
		if other := syncproto.AppendString(nil, []byte(s)); !bytes.Equal(got, other) {
			t.Fatalf("%q: %s as a string, %s as bytes", s, got, other)
		}
		if !json.Valid(got) || !utf8.Valid(got) {
			t.Fatalf("%q: %s is not JSON in UTF-8", s, got)
		}
		reference, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var a, b string
		if json.Unmarshal(got, &a) != nil || json.Unmarshal(reference, &b) != nil || a != b {
			t.Fatalf("%q: %q comes back, encoding/json gives %q", s, a, b)
		}
		if utf8.ValidString(s) && a != s {
			t.Fatalf("%q came back as %q", s, a)
		}
	})
}
