package commitlog

// Parts of the segment that is written. Behind each, in the stream of records, comes an index
// of it, and two hints at the segment's beginning, written in turn, say where the newest
// indexes are: so what opens the log after a crash has to read the last part only.
//
// Three things keep a reader from believing what is not so. An index is written only when all
// before it is durable, and says so. It is a record, with a record's checksums, of which the
// salt is one; and a hint that leads to anything else counts as none. Hints are never needed:
// without one all is read. So it does not matter that a hint becomes durable before its index,
// or not at all, or that the index was refused with its group.

import (
	"encoding/binary"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

// hintAt is where the n-th hint is written: never where the newest is.
func hintAt(n int) int64 { return sector * int64(1+n%2) }

// hint gives an offset as a hint has it.
func hint(salt uint32, offset uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, offset)
	return binary.LittleEndian.AppendUint32(b, sum(salt, b))
}

// parseHint is the opposite of hint; 0: there is none.
func parseHint(b []byte, salt uint32) (offset uint32) {
	if binary.LittleEndian.Uint32(b[4:]) != sum(salt, b[:4]) {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

// startGroup begins a group in the buffer: with the index of the part that ends here, if the
// part is long enough. It returns the checksum that the group follows, and where the part
// begins that the group is in.
func (l *Log) startGroup() (chain uint32, part int64, err error) {
	a := l.active
	if a.end-a.part < l.o.IndexBytes || len(a.touched) == 0 {
		return a.chain, a.part, nil
	}
	if a.synced < a.end { // a log that is Relaxed
		if err := l.syncActive(); err != nil {
			return 0, 0, err
		}
	}
	content, _ := encodeIndex(a.touched, a.salt, 0)
	rec := record{
		chain: a.chain, synced: uint32(a.synced), previous: a.indexed, number: uint64(len(a.touched)), flags: flagIndex,
	}
	l.out.put(a.salt, &rec, "", content, nil)
	return rec.crc, l.out.end(), nil
}

// writeHint says where the index that begins the group is. Where that fails the next start
// reads more.
func (a *active) writeHint() {
	_, _ = a.file.WriteAt(hint(a.salt, uint32(a.end)), hintAt(a.hints))
}

// endPart notes that a group was written with an index at its beginning.
func (l *Log) endPart(at, part int64) {
	a := l.active
	l.mu.Lock()
	defer l.mu.Unlock()
	a.indexed, a.part, a.touched = uint32(at), part, a.touched[:0]
	a.hints++
	l.stats.Indexes++
}

// start is where the reading of records begins.
type start struct {
	at    int64
	chain uint32 // the checksum that the first record has to name
}

// lastPart prepares to read a segment from its newest whole index on, to which a hint leads, and
// notes what indexes it has up to there; if it has none, or none that can be used, from the first
// record on.
func (s *segment) lastPart(f vfs.File, hints []uint32) (*scan, error) {
	r := reader{f: f, number: s.number, salt: s.salt}
	for _, at := range slices.Backward(slices.Sorted(slices.Values(hints))) {
		indexes, chain := s.indexesUpTo(f, at)
		if len(indexes) == 0 {
			continue
		}
		found := newScan(r, start{int64(at), chain}, int64(at), s.size)
		_, whole, err := found.goodAt(int64(at))
		if err != nil {
			return nil, err
		}
		if whole {
			s.indexes = indexes
			return found, nil
		}
	}
	return newScan(r, start{segmentStart, s.salt}, segmentStart, s.size), nil
}

// indexesUpTo finds the index whose record is at an offset and those before it, of which it
// reads the headers; none if one of them is not what it should be. chain is what the
// checksum of the record before the newest should be.
func (s *segment) indexesUpTo(f vfs.File, at uint32) (indexes []*index, chain uint32) {
	newest := at
	h := make([]byte, recordHeader)
	for at != 0 {
		if int64(at) < segmentStart || s.readAt(f, h, int64(at)) != nil {
			return nil, 0
		}
		r, ok := parseHeader(h, s.salt)
		if !ok || r.flags != flagIndex || r.synced != at || r.previous >= at {
			return nil, 0
		}
		if at == newest {
			chain = r.chain
		}
		indexes = append(indexes, &index{offset: at + recordHeader, rooms: uint32(r.number)})
		at = r.previous
	}
	slices.Reverse(indexes)
	return indexes, chain
}
