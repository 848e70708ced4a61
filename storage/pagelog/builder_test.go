package pagelog

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// What pages have left that were taken back or came again does not add up.
func TestBuilderIsBounded(t *testing.T) {
	rnd := rand.New(rand.NewPCG(15, 16))
	const pages = 100
	before := make([]byte, PageSize)
	var b Builder
	most := 0
	bounded := func() {
		most = max(most, b.Memory()-b.Size())
		if limit := 2*pages*(maxDifference+pageHeaderSize) + 2*keepBytes; b.Memory() > limit {
			t.Fatalf("%d bytes for %d of a payload", b.Memory(), b.Size())
		}
	}
	for range 50 {
		for i := range int64(pages) {
			b.Add(100+i, uint32(i+1), before, randomPage(rnd))
		}
		bounded()
		b.Truncate(100)
		bounded()
	}
	for i := range int64(pages) {
		b.Add(100+i, uint32(i+1), before, randomPage(rnd))
	}
	for range 50 {
		for i := range int64(pages) {
			b.Replace(100+i, before, randomPage(rnd))
			bounded()
		}
	}
	if most == 0 {
		t.Error("nothing was taken back")
	}
	if b.Len() != pages {
		t.Errorf("%d pages are left of %d", b.Len(), pages)
	}
	size := 0
	_, parts := b.Payload(nil, pages, pages)
	for _, part := range parts {
		size += len(part)
	}
	if b.Size() != size {
		t.Errorf("the size is %d, the parts have %d", b.Size(), size)
	}
	b.Done()
	if b.Size() != 0 || b.Memory() != 0 || b.Len() != 0 || cap(b.chunk) > keepBytes || cap(b.pages) > keepPages || cap(b.parts) > keepPages {
		t.Errorf("%d bytes of parts and %d pages stay", cap(b.chunk), cap(b.pages))
	}
}

// A Builder that is used again makes the same payload as a new one, and a small one takes no new memory.
func TestBuilderAgain(t *testing.T) {
	h := newHistory(17, 5)
	h.all(10, 0)
	before, after := pageOf(h.states[9], 2), pageOf(h.states[10], 2)
	after[100]++
	build := func(b *Builder) []byte {
		b.Add(56, 2, before, after)
		first, more := b.Payload(nil, 5, 5)
		return slices.Concat(append([][]byte{first}, more...)...)
	}
	if got := build(&h.builder); !bytes.Equal(got, build(new(Builder))) {
		t.Error("the payload depends on the one before")
	}
	if n := testing.AllocsPerRun(100, func() {
		h.builder.Done()
		h.builder.Add(56, 2, before, after)
		h.builder.Payload(nil, 5, 5)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A transaction after a large one begins with as much memory as that took, up to a limit.
func TestBuilderExpectsTheUsual(t *testing.T) {
	rnd := rand.New(rand.NewPCG(22, 23))
	zero := make([]byte, PageSize)
	for pages, want := range map[int]int{1: 1 << 10, 50: 50 * PageSize, 300: maxChunk} {
		var b Builder
		for i := range pages {
			b.Add(int64(i), uint32(i+1), zero, randomPage(rnd))
		}
		size := b.Size()
		b.Done()
		b.chunk = nil
		b.Add(0, 2, zero, zero)
		if got := cap(b.chunk); got < want || want > 1<<10 && got > size {
			t.Errorf("behind %d pages of %d bytes: %d, want %d", pages, size, got, want)
		}
	}
}

// Pages are found by their places, and given in the order of these.
func TestBuilderPlaces(t *testing.T) {
	var b Builder
	zero, page := make([]byte, PageSize), randomPage(rand.New(rand.NewPCG(18, 19)))
	for i, number := range []uint32{7, 3, 9, 3, 1} {
		b.Add(int64(10*(i+1)), number, zero, page)
	}
	places := func() (got []int64) {
		for number, at := range b.Pages() {
			got = append(got, int64(number), at)
		}
		return got
	}
	if n, ok := b.At(30); n != 9 || !ok {
		t.Errorf("at 30 is page %d, %v", n, ok)
	}
	if n, ok := b.At(31); ok || n != 0 {
		t.Errorf("at 31 is page %d", n)
	}
	size := b.Size()
	b.Remove(3)
	if b.Size() != size/5*3 || b.Memory() != size {
		t.Errorf("without two pages of five, %d bytes of %d and %d in memory", b.Size(), size, b.Memory())
	}
	if got, want := places(), []int64{7, 10, 9, 30, 1, 50}; !slices.Equal(got, want) {
		t.Errorf("without page 3: %v, want %v", got, want)
	}
	b.Truncate(31)
	if got, want := places(), []int64{7, 10, 9, 30}; !slices.Equal(got, want) {
		t.Errorf("up to 31: %v, want %v", got, want)
	}
	if _, more := b.Payload(nil, 8, 8); len(more) != 1 || b.Len() != 1 {
		t.Errorf("%d pages of a database of 8", len(more))
	}
	for range b.Pages() {
		break
	}
}

// An error of reading a page ends a snapshot.
func TestBeginSnapshotThatCannotRead(t *testing.T) {
	if b, err := BeginSnapshot(3, [][]byte{AppendNewPage(nil, 1, make([]byte, PageSize))}, func(number uint32) ([]byte, error) {
		if number == 2 {
			return nil, errDisk
		}
		return make([]byte, PageSize), nil
	}); b != nil || err != errDisk {
		t.Errorf("%d bytes (%v)", len(b), err)
	}
}

// AppendNewPage leaves the page as it is.
func TestAppendNewPage(t *testing.T) {
	page := randomPage(rand.New(rand.NewPCG(20, 21)))
	was := bytes.Clone(page)
	if AppendNewPage(nil, 1, page); !bytes.Equal(page, was) {
		t.Error("the page is another")
	}
}
