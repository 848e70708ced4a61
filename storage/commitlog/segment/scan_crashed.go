package segment

// Scans of a segment that is not sealed, or of which it is not known whether it is.

import (
	"encoding/binary"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

// ScanLast reads the end of a segment that a crash has left: from the newest whole index on that a hint leads to, or,
// without such an index, from the first record on. indexes are the segment's indexes up to there. preamble is what
// precedes the first record. ErrIO, ErrCorrupt.
func (s *File) ScanLast(f vfs.File, preamble []byte) (found *Scan, indexes []Index, err error) {
	offsets := hints(preamble, s.Salt)
	if found, indexes, err = s.prepareLast(f, offsets); err != nil {
		return nil, nil, err
	}
	if err := found.scan(); err != nil {
		return nil, nil, err
	}
	return found, indexes, found.DropIndexHoles(offsets...)
}

// prepareLast returns the scan of ScanLast before it has begun.
func (s *File) prepareLast(f vfs.File, offsets []uint32) (*Scan, []Index, error) {
	r := reader{f: f, number: s.Number, salt: s.Salt}
	for _, at := range slices.Backward(slices.Sorted(slices.Values(offsets))) {
		indexes, chain := s.indexesUpTo(f, at)
		if len(indexes) == 0 {
			continue
		}
		found := newScan(r, scanStart{int64(at), chain}, int64(at), s.Size)
		_, whole, err := found.goodAt(int64(at))
		if err != nil {
			return nil, nil, err
		}
		if whole {
			return found, indexes, nil
		}
	}
	return newScan(r, scanStart{Start, s.Salt}, Start, s.Size), nil, nil
}

// indexesUpTo returns the index whose record is at an offset, and those before it, by the headers of their records;
// none if one of the headers is not good. chain is the checksum that the record before the newest index should have.
func (s *File) indexesUpTo(f vfs.File, at uint32) (indexes []Index, chain uint32) {
	newest := at
	h := make([]byte, recordHeader)
	for at != 0 {
		if int64(at) < Start || s.readAt(f, h, int64(at)) != nil {
			return nil, 0
		}
		r, ok := parseHeader(h, s.Salt)
		if !ok || r.Flags != FlagIndex || r.Synced != at || r.Previous >= at {
			return nil, 0
		}
		if at == newest {
			chain = r.Chain
		}
		indexes = append(indexes, Index{Offset: at + recordHeader, Rooms: uint32(r.Number)})
		at = r.Previous
	}
	slices.Reverse(indexes)
	return indexes, chain
}

// ScanAll reads all records of a segment of which it is not known where they end. If the segment was sealed, they end
// where its last index begins, and all before was whole once. What a Relaxed generation has left of an index proves
// nothing, because it was synced together with the records. preamble is what precedes the first record. ErrIO.
func (s *File) ScanAll(f vfs.File, preamble []byte) (*Scan, error) {
	r := reader{f: f, number: s.Number, salt: s.Salt}
	found := newScan(r, scanStart{Start, s.Salt}, Start, s.Size)
	if err := found.scan(); err != nil {
		return nil, err
	}
	end := int64(0)
	if binary.LittleEndian.Uint32(preamble[12:])&flagRelaxed == 0 {
		var err error
		if end, err = found.nextIndex(); err != nil {
			return nil, err
		}
	}
	if end > found.End {
		found = newScan(r, scanStart{Start, s.Salt}, end, end)
		if err := found.scan(); err != nil {
			return nil, err
		}
	}
	return found, found.DropIndexHoles()
}

// nextIndex returns the offset of the index after the records; 0 if there is none.
func (s *Scan) nextIndex() (int64, error) {
	for at := s.End; at < s.limit; at += 8 {
		if n, err := s.indexAt(at, s.limit, footerBlock); n > 0 || err != nil {
			return at, err
		}
	}
	return 0, nil
}
