package pagelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

// randomPage makes a page that is different everywhere.
func randomPage(rnd *rand.Rand) []byte {
	page := make([]byte, PageSize)
	for i := 0; i < len(page); i += 8 {
		binary.LittleEndian.PutUint64(page[i:], rnd.Uint64())
	}
	return page
}

// scribble changes some pieces of a page, and leaves the page as it is from time to time.
func scribble(rnd *rand.Rand, page []byte) {
	for range rnd.IntN(40) {
		at := rnd.IntN(PageSize)
		for i := range rnd.IntN(min(200, PageSize-at)) {
			page[at+i] = byte(rnd.Uint32())
		}
	}
}

// Random pages go through their difference and back.
func TestDifference(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		before := randomPage(rnd)
		after := bytes.Clone(before)
		scribble(rnd, after)
		difference := appendDifference(nil, before, after)
		page := bytes.Clone(before)
		if err := applyDifference(page, difference); err != nil || !bytes.Equal(page, after) {
			t.Fatal("not what it was:", err)
		}
		if err := applyDifference(page, difference); err != nil || !bytes.Equal(page, before) {
			t.Fatal("not back:", err)
		}
	}
}

// A difference is never longer than the room that is kept for it, whatever the pages are.
func TestDifferenceIsBounded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	before := randomPage(rnd)
	everySecond, all := bytes.Clone(before), bytes.Clone(before)
	for i := 0; i < PageSize; i += 8 {
		all[i]++
		if i%16 == 0 {
			everySecond[i]++
		}
	}
	for what, after := range map[string][]byte{"all words": all, "every second word": everySecond, "another page": randomPage(rnd)} {
		dst := make([]byte, 0, maxDifference)
		if got := appendDifference(dst, before, after); len(got) > maxDifference || &got[0] != &dst[:1][0] {
			t.Errorf("%s: %d bytes, which is more than %d", what, len(got), maxDifference)
		}
	}
	if got := appendDifference(nil, before, before); len(got) != 0 {
		t.Errorf("equal pages: %d bytes", len(got))
	}
}

func TestDifferenceThatIsDamaged(t *testing.T) {
	pair := func(same, words uint64, content int) []byte {
		return append(binary.AppendUvarint(binary.AppendUvarint(nil, same), words), make([]byte, content)...)
	}
	const wordsInPage = PageSize / 8
	for what, difference := range map[string][]byte{
		"half a number":                    {0x80},
		"one number":                       {1},
		"a number that does not end":       bytes.Repeat([]byte{0xff}, 11),
		"a second number that is too long": append([]byte{0}, bytes.Repeat([]byte{0xff}, 11)...),
		"words that are missing":           pair(0, 2, 15),
		"words behind the page":            pair(wordsInPage-1, 2, 16),
		"a place behind the page":          pair(wordsInPage+1, 0, 0),
		"a place that overflows":           pair(1<<61, 1, 8),
		"words that overflow":              pair(0, 1<<61, 8),
		"two pairs that are too long":      append(pair(wordsInPage-1, 1, 8), pair(0, 1, 8)...),
	} {
		if err := applyDifference(make([]byte, PageSize), difference); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, difference := range map[string][]byte{
		"nothing":              nil,
		"the last word":        pair(wordsInPage-1, 1, 8),
		"the whole page":       pair(0, wordsInPage, PageSize),
		"no words at the end":  pair(wordsInPage, 0, 0),
		"pairs without a word": append(pair(1, 0, 0), pair(1, 0, 0)...),
	} {
		if err := applyDifference(make([]byte, PageSize), difference); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A difference that ends within a pair, or goes on after the last one, is refused: by any number of bytes, one too.
func TestDifferenceThatIsCutOff(t *testing.T) {
	before, after := make([]byte, PageSize), make([]byte, PageSize)
	after[800], after[810] = 1, 2
	whole := appendDifference(nil, before, after) // of one pair
	for n := 1; n < len(whole); n++ {
		if err := applyDifference(bytes.Clone(before), whole[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("the first %d bytes of %d: %v", n, len(whole), err)
		}
	}
	for last := range 256 {
		if err := applyDifference(bytes.Clone(before), append(whole[:len(whole):len(whole)], byte(last))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("with %d after it: %v", last, err)
		}
	}
	if err := applyDifference(before, whole); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the whole one: %v", err)
	}
}

// The counters of page 1 are no part of its checksum, and everything else of any page is.
func TestChecksum(t *testing.T) {
	page := randomPage(rand.New(rand.NewPCG(5, 6)))
	first, second := checksum(1, page), checksum(2, page)
	for i := range page {
		page[i] ^= 0x10
		counter := i >= 24 && i < 28 || i >= 92 && i < 100
		if same := checksum(1, page) == first; same != counter {
			t.Errorf("byte %d of page 1: the checksum is the same: %v", i, same)
		}
		if checksum(2, page) == second {
			t.Errorf("byte %d of page 2 is no part of the checksum", i)
		}
		page[i] ^= 0x10
	}
	ClearCounters(page)
	if checksum(1, page) != checksum(2, page) {
		t.Error("page 1 without its counters has another checksum than any page")
	}
}
