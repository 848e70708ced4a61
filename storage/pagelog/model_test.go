package pagelog

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// memoryFile is a File in memory.
type memoryFile struct{ b []byte }

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	n := copy(p, f.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(f.b) {
		f.b = append(f.b, make([]byte, end-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

func (f *memoryFile) Truncate(size int64) error {
	if int(size) > len(f.b) {
		f.b = append(f.b, make([]byte, int(size)-len(f.b))...)
	}
	f.b = f.b[:size]
	return nil
}

// A history is a database with all its transactions, and the states between them. state[n] is what transaction n left, without
// the counters of page 1.
type history struct {
	rnd      *rand.Rand
	builder  Builder
	payloads [][]byte // of transaction n at n-1
	states   [][]byte
	layout   uint64
	removed  int // pages that were written and taken back, or written again
}

// newHistory begins with a database of some pages.
func newHistory(seed uint64, pages int) *history {
	h := &history{rnd: rand.New(rand.NewPCG(seed, 7)), layout: seed}
	var first []byte
	for range pages {
		first = append(first, randomPage(h.rnd)...)
	}
	ClearCounters(first)
	h.states = [][]byte{first}
	return h
}

func pageOf(state []byte, number uint32) []byte {
	if at := int(offset(number)); at < len(state) {
		return state[at:][:PageSize]
	}
	return make([]byte, PageSize)
}

// commit makes a transaction as SQLite would write it: pages may come again in their place or in a new one, and be
// taken back.
func (h *history) commit(snapshot bool) {
	rnd, b := h.rnd, &h.builder
	before := h.states[len(h.states)-1]
	after := bytes.Clone(before)
	for range rnd.IntN(4) {
		after = append(after, randomPage(rnd)...)
	}
	count := uint32(len(after) / PageSize)
	at := int64(56)
	add := func(number uint32, content []byte) {
		if number == 1 { // the pager's counters are different each time
			content = bytes.Clone(content)
			content[24], content[95] = byte(rnd.Uint32()), byte(rnd.Uint32())
		}
		b.Add(at, number, pageOf(before, number), content)
		at += 24 + PageSize
	}
	for range rnd.IntN(3) { // before a savepoint that is taken back
		savepoint := at
		for range rnd.IntN(20) {
			add(1+uint32(rnd.IntN(int(count))), randomPage(rnd))
			h.removed++
		}
		b.Truncate(savepoint)
		at = savepoint
	}
	if rnd.IntN(4) == 0 { // spilled, and after the end
		add(count+1, randomPage(rnd))
		h.removed++
	}
	numbers := rnd.Perm(int(count))[:1+rnd.IntN(int(count))]
	for n := len(before) / PageSize; n < int(count); n++ {
		if !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	for _, n := range numbers {
		number, page := uint32(n+1), after[n*PageSize:][:PageSize]
		place := at
		switch rnd.IntN(4) {
		case 0: // with something else first
			add(number, randomPage(rnd))
			scribble(rnd, page)
			if got, ok := b.At(place); !ok || got != number {
				panic("the page is not where it was put")
			}
			b.Replace(place, pageOf(before, number), page)
			h.removed++
		case 1:
			add(number, randomPage(rnd))
			b.Remove(number)
			scribble(rnd, page)
			add(number, page)
			h.removed++
		default:
			scribble(rnd, page)
			add(number, page)
		}
	}
	ClearCounters(after)
	h.finish(before, after, snapshot)
}

func (h *history) finish(before, after []byte, snapshot bool) {
	var base []byte
	was := uint32(len(before) / PageSize)
	if snapshot {
		parts := make([][]byte, h.rnd.IntN(int(was)+1))
		for i := range parts {
			if h.rnd.IntN(3) > 0 {
				parts[i] = AppendNewPage(nil, uint32(i+1), pageOf(before, uint32(i+1)))
			}
		}
		var err error
		if base, err = BeginSnapshot(was, parts, func(number uint32) ([]byte, error) { return pageOf(before, number), nil }); err != nil {
			panic(err)
		}
	}
	first, more := h.builder.Payload(base, was, uint32(len(after)/PageSize))
	SetLayout(first, h.layout)
	h.payloads = append(h.payloads, slices.Concat(append([][]byte{first}, more...)...))
	h.states = append(h.states, after)
	h.builder.Done()
}

// all makes transactions; some are snapshots.
func (h *history) all(transactions, snapshots int) {
	for range transactions {
		h.commit(h.rnd.IntN(transactions) < snapshots)
	}
}

// without is a state without the counters of page 1.
func without(state []byte) []byte {
	state = bytes.Clone(state)
	if len(state) > 0 {
		ClearCounters(state)
	}
	return state
}

const seeds = 24

// The differences of a transaction, applied to the old pages, give the new ones; applied to a file, to a buffer, to nothing.
func TestTransactionsForwards(t *testing.T) {
	removed := 0
	for seed := range uint64(seeds) {
		h := newHistory(seed, 1+int(seed%7))
		h.all(20, 3)
		removed += h.removed
		file := &memoryFile{bytes.Clone(h.states[0])}
		replay := NewFileReplay(file, 0, uint32(len(h.states[0])/PageSize))
		for i, payload := range h.payloads {
			number, before, after := uint64(i+1), h.states[i], h.states[i+1]
			if err := replay.Apply(number, payload); err != nil || !bytes.Equal(without(file.b), after) {
				t.Fatalf("seed %d: transaction %d makes another file (%v)", seed, number, err)
			}
			tx, err := Parse(number, payload)
			if err == nil {
				err = errors.Join(tx.CheckLayout(seed), tx.CheckSize(uint32(len(before)/PageSize)))
			}
			if err != nil || tx.Number != number || int(tx.After) != len(after)/PageSize {
				t.Fatalf("seed %d: transaction %d: %+v (%v)", seed, number, tx, err)
			}
			buffer := NewBuffer(func(number uint32, page []byte) error {
				if !tx.Snapshot {
					copy(page, pageOf(before, number))
				}
				return nil
			})
			if err := tx.Apply(buffer); err != nil {
				t.Fatalf("seed %d: transaction %d: %v", seed, number, err)
			}
			got, last := bytes.Clone(before), uint32(0)
			if tx.Snapshot {
				clear(got)
			}
			got = append(got, make([]byte, len(after)-len(got))...)
			for number, page := range buffer.All() {
				if number <= last {
					t.Errorf("page %d comes after %d", number, last)
				}
				last = number
				copy(got[offset(number):], page)
			}
			if !bytes.Equal(without(got), after) {
				t.Errorf("seed %d: transaction %d makes another buffer", seed, number)
			}
			image, err := tx.Image()
			if tx.Snapshot && (err != nil || !bytes.Equal(without(image), after)) {
				t.Errorf("seed %d: the snapshot %d is another database (%v)", seed, number, err)
			}
			if !tx.Snapshot && !errors.Is(err, ErrCorrupt) {
				t.Errorf("seed %d: a delta passes for a snapshot (%v)", seed, err)
			}
		}
	}
	if removed == 0 {
		t.Error("no page was taken back")
	}
}

// All transactions are taken back, one after another, with the pages written at random.
func TestTransactionsBackwards(t *testing.T) {
	for seed := range uint64(seeds) {
		h := newHistory(seed, 1+int(seed%7))
		h.all(20, 3)
		n := len(h.payloads)
		file := &memoryFile{bytes.Clone(h.states[n])}
		r := &Rewinder{File: file, Number: uint64(n), Layout: seed}
		if seed == uint64(n) { // the layout began with its newest transaction: there is no way back
			continue
		}
		for ; n > 0; n-- {
			if uint64(n) == seed {
				if ok, err := r.Revert(uint64(n), h.payloads[n-1]); ok || err != nil {
					t.Errorf("seed %d: the way leads beyond the layout (%v)", seed, err)
				}
				break
			}
			if ok, err := r.Revert(uint64(n), h.payloads[n-1]); !ok || err != nil || r.Number != uint64(n-1) {
				t.Fatalf("seed %d: transaction %d: %v, now at %d (%v)", seed, n, ok, r.Number, err)
			}
			if h.rnd.IntN(3) > 0 && n > 1 {
				continue
			}
			if err := r.Flush(); err != nil || !bytes.Equal(without(file.b), h.states[n-1]) {
				t.Fatalf("seed %d: before transaction %d there is another file (%v)", seed, n, err)
			}
		}
	}
}
