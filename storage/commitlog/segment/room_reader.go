package segment

// A room's records in one segment: its names, and its entries forwards and backwards.

import (
	"errors"

	"github.com/denrooms/den/storage/vfs"
)

// Reader reads the records of rooms in a segment, through a buffer of its own. A flipped bit is repaired. The errors
// are ErrCorrupt and ErrIO.
type Reader struct{ reader }

// Reader returns a Reader for names and runs. It reads small pieces.
func (s *File) Reader(f vfs.File) *Reader {
	return &Reader{reader{f: f, number: s.Number, salt: s.Salt, window: recordHeader + typicalNames}}
}

// Reset makes r, which may be new, a reader for the entries of a run in a file. Its buffer stays. onFlip, which may
// be nil, is called for each flipped bit of an entry, with the number of the segment and the offset.
func (r *Reader) Reset(f vfs.File, s *File, onFlip func(number uint64, at int64)) {
	*r = Reader{reader{f: f, number: s.Number, salt: s.Salt, buf: r.buf[:0], onFlip: onFlip}}
}

// Root returns the identity of the room at a place.
func (r *Reader) Root(p *Place) (Identity, error) {
	root, err := r.readHeader(int64(p.Root), p.Key, forwards)
	if err != nil {
		return Identity{}, err
	}
	if root.Flags&FlagNames == 0 {
		return Identity{}, r.corrupt(int64(p.Root), "the first record of a room is damaged")
	}
	return r.Names(int64(p.Root), &root)
}

// Names returns the identity in a record with FlagNames at an offset. The names are their own checksum, because the
// key is a hash of them.
func (r *Reader) Names(at int64, rec *Record) (Identity, error) {
	b, err := r.bytes(at+recordHeader, int(rec.namesLength), forwards)
	if err != nil {
		return Identity{}, err
	}
	if who, ok := ParseNames(string(b)); ok && who.Key == rec.Key {
		return who, nil
	}
	if _, b, err = r.readRecord(at, rec.Key); err != nil {
		return Identity{}, err
	}
	who, ok := ParseNames(string(b[recordHeader:][:rec.namesLength]))
	if !ok || who.Key != rec.Key {
		return Identity{}, r.corrupt(at, "the names of a room are damaged")
	}
	return who, nil
}

// FindRunStart sets p.First: the number of the first of the room's entries in the segment that follow each other up to the newest
// one, at p. failed says that there are entries before it, which are damaged; Replay and Backward then know of them.
func (r *Reader) FindRunStart(p *Place) (failed, err error) {
	root, err := r.readHeader(int64(p.Root), p.Key, forwards)
	if err == nil {
		p.First, p.Starts = root.Number, root.Flags&FlagStarts != 0
		return nil, nil
	}
	if !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	failed = err
	p.First, p.incomplete = p.Last, true
	for at := p.At; ; {
		rec, err := r.readHeader(int64(at), p.Key, backwards)
		if err == nil && (rec.Previous == 0 || rec.Previous >= at || rec.Number != p.First) {
			return failed, nil
		}
		if err == nil {
			_, err = r.readHeader(int64(rec.Previous), p.Key, backwards)
		}
		if errors.Is(err, ErrCorrupt) {
			return failed, nil
		}
		if err != nil {
			return failed, err
		}
		p.First, at = p.First-1, rec.Previous
	}
}

// Replay calls fn for the entries of a run above after, the oldest first. The arguments of fn are valid until it
// returns. chain is the checksum of the entry before them, 0 if it was not read; Replay returns that of the last one.
// An error of fn ends Replay, and is returned. ErrCorrupt: an entry is not what was appended. ErrIO.
func (r *Reader) Replay(p *Place, after uint64, chain uint32, fn func(rec *Record, payload []byte) error) (uint32, error) {
	wanted := max(after+1, p.First)
	places, err := r.offsets(p, wanted)
	if err != nil {
		return 0, err
	}
	var rec Record // one for all of them, because fn makes it escape
	for i := len(places) - 1; i >= 0; i-- {
		var payload []byte
		if rec, payload, err = r.readEntry(int64(places[i]), p.Key); err != nil {
			return 0, err
		}
		if rec.Number != wanted || chain != 0 && rec.RoomChain != chain || i == 0 && rec.CRC != p.CRC {
			return 0, r.corrupt(int64(places[i]), "the room's chain is broken")
		}
		wanted++
		chain = rec.CRC
		if err := fn(&rec, payload); err != nil {
			return 0, err
		}
	}
	return chain, nil
}

// offsets returns the offsets of the run's records from a number on, the newest first.
func (r *Reader) offsets(p *Place, from uint64) ([]uint32, error) {
	var places []uint32
	at := p.At
	for number := p.Last; ; number-- {
		rec, err := r.readHeader(int64(at), p.Key, backwards)
		if err != nil {
			return nil, err
		}
		if rec.Number != number || rec.Previous >= at {
			return nil, r.corrupt(int64(at), "the room's chain is broken")
		}
		places = append(places, at)
		if number == from {
			return places, nil
		}
		if at = rec.Previous; at == 0 {
			return nil, r.corrupt(int64(p.At), "the room's chain ends too early")
		}
	}
}

// Backward calls fn for the entries of a run, the newest first, until fn returns false. The arguments of fn are valid until it
// returns. chain is the checksum that the room's entry before the run should have. The errors are those of Replay.
func (r *Reader) Backward(p *Place, fn func(rec *Record, payload []byte) (bool, error)) (chain uint32, more bool, err error) {
	at, chain := p.At, p.CRC
	var rec Record // one for all of them, because fn makes it escape
	for number := p.Last; ; number-- {
		var payload []byte
		if rec, payload, err = r.readEntry(int64(at), p.Key); err != nil {
			return 0, false, err
		}
		first := number == p.First
		if rec.Number != number || rec.CRC != chain || rec.Previous >= at || (rec.Previous == 0) != (first && !p.incomplete) {
			return 0, false, r.corrupt(int64(at), "the room's chain is broken")
		}
		if more, err := fn(&rec, payload); err != nil || !more {
			return 0, false, err
		}
		if first && p.incomplete {
			return 0, true, nil
		}
		if at, chain = rec.Previous, rec.RoomChain; at == 0 {
			return chain, rec.Flags&FlagStarts == 0, nil
		}
	}
}
