package syncproto_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/denrooms/den/syncproto"
)

func TestCursor(t *testing.T) {
	epoch := syncproto.ShortEpoch([]byte{0x9f, 0x86, 0xd0, 0x81, 0x88, 0x4c, 0x7d, 0x65, 0x9a})
	for seq, want := range map[uint64]string{0: "n4bQgYhMfWU.0", 35: "n4bQgYhMfWU.z", 1<<63 - 1: "n4bQgYhMfWU.1y2p0ij32e8e7"} {
		c := syncproto.Cursor{Epoch: epoch, Seq: seq}
		if c.String() != want {
			t.Errorf("%d: %s, want %s", seq, c, want)
		}
		if back, err := syncproto.ParseCursor(want); err != nil || back != c {
			t.Errorf("%s: read as %v (%v)", want, back, err)
		}
	}
	if got := syncproto.ShortEpoch([]byte("x")); len(got) != 11 {
		t.Errorf("a short name: %q", got)
	}
	for _, text := range []string{"", ".", "n4bQgYhMfWU", "n4bQgYhMfWU.", "n4bQgYhMfWU.00", "n4bQgYhMfWU.Z", "n4bQgYhMfWU.+1", "n4bQgYhMfWU.1_0", "n4bQgYhMfWU.1y2p0ij32e8e8",
		"n4bQgYhMfW.1", "n4bQgYhMfWUU.1", "n4bQgYhMf+U.1", "n4bQgYhMfWU.1.1", " n4bQgYhMfWU.1", strings.Repeat("1", 65), "n4bQgYhMfWU." + strings.Repeat("1", 53)} {
		if c, err := syncproto.ParseCursor(text); !errors.Is(err, syncproto.ErrCursor) {
			t.Errorf("%q: read as %v (%v)", text, c, err)
		}
	}
}

// TestParseCursorAlphabet writes an epoch with each byte in each place: 64 of them are base64url's.
func TestParseCursorAlphabet(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for c := range 256 {
		for place := range 11 {
			text := []byte("n4bQgYhMfWU.1z")
			text[place] = byte(c)
			got, err := syncproto.ParseCursor(string(text))
			if is := strings.IndexByte(alphabet, byte(c)) >= 0; is != (err == nil) || is && got.String() != string(text) {
				t.Errorf("%q is read as %v (%v)", text, got, err)
			}
		}
	}
}

// FuzzParseCursor: what is read as a cursor is written again as it was.
func FuzzParseCursor(f *testing.F) {
	for _, text := range []string{"n4bQgYhMfWU.1z", "n4bQgYhMfWU.0", "n4bQgYhMfWU.01", "", "AAAAAAAAAAA.1y2p0ij32e8e7"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := syncproto.ParseCursor(text); err == nil && c.String() != text {
			t.Fatalf("%q became %q", text, c)
		}
	})
}
