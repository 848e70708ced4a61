package roomfile

import (
	"errors"
	"strings"
	"testing"
)

// The note of the seq that a restore began with: whatever is wrong with it, the next one is above it.
func TestNotedSeq(t *testing.T) {
	f := testFile(t)
	if got, err := f.SeqAbove(7); err != nil || got != 7+1<<32 {
		t.Errorf("without a note: %d, %v", got, err)
	}
	for _, seq := range []uint64{0, 1, 1 << 40} {
		if err := f.NoteSeq(seq); err != nil {
			t.Fatal(err)
		}
		got, err := f.NotedSeq()
		above, e := f.SeqAbove(5)
		if err != nil || e != nil || got != seq || above != max(seq, 5)+1<<32 {
			t.Errorf("noted %d: %d, and %d above all, %v, %v", seq, got, above, err, e)
		}
	}
	line := content(t, f.Path+SeqSuffix)
	for _, spoiled := range []string{"", line[1:], line[:len(line)-1], strings.Replace(line, "1099", "1098", 1), line + "x"} {
		write(t, f.Path+SeqSuffix, spoiled)
		if got, err := f.NotedSeq(); err != nil || got != 1<<44 {
			t.Errorf("%q: %d, %v", spoiled, got, err)
		}
	}
	const most = 1<<62 - 1<<32 - 1 // and 2^32 more is half of what a seq can be
	if err := f.NoteSeq(most); err != nil {
		t.Fatal(err)
	}
	if got, err := f.SeqAbove(0); err != nil || got != 1<<62-1 {
		t.Errorf("the highest: %d, %v", got, err)
	}
	for _, known := range []uint64{most + 1, 1 << 62} {
		if _, err := f.SeqAbove(known); !errors.Is(err, ErrTooLarge) {
			t.Errorf("above %d: %v", known, err)
		}
	}
}
