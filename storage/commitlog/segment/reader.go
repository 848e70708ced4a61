package segment

// Reading a segment's records through a window.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/denrooms/den/storage/vfs"
)

const (
	typicalNames  = 184       // bytes of names are read with a header; if there are more, that is another read
	maxKeptBuffer = 4 << 20   // a larger buffer is not kept
	window        = 8 << 10   // bytes that are read at once if a few records are wanted
	scanWindow    = 256 << 10 // and if all are
)

type reader struct {
	f      vfs.File
	number uint64
	salt   uint32
	window int // how many bytes are read at once; 0: window
	buf    []byte
	start  int64 // of buf in the file

	onFlip func(number uint64, at int64) // is told of flipped bits; may be nil
}

func (s *reader) corrupt(at int64, what string) error { return Corrupt(Name(s.number), at, what) }

// direction is where the next reads are likely to be.
type direction uint8

const (
	forwards direction = iota
	backwards
)

// bytes returns n bytes of the file, valid until the next call.
func (s *reader) bytes(off int64, n int, to direction) ([]byte, error) {
	if off < s.start || off+int64(n) > s.start+int64(len(s.buf)) {
		start, size := off, max(n, s.step())
		if to == backwards {
			start = max(0, off+int64(n)-int64(size))
		}
		if cap(s.buf) < size {
			s.buf = nil // no two large entries at a time
			if size > window {
				s.buf = make([]byte, (size+window-1)/window*window)
			} else {
				s.buf = make([]byte, size)
			}
		}
		got, err := s.f.ReadAt(s.buf[:size], start)
		s.buf, s.start = s.buf[:got], start
		if off+int64(n) > start+int64(got) {
			return nil, shortRead(s.number, start+int64(got), err)
		}
	}
	return s.buf[off-s.start:][:n], nil
}

func (s *reader) step() int { return cmp.Or(s.window, window) }

// shortRead returns the error of a read that gave less than was wanted.
func shortRead(number uint64, at int64, err error) error {
	if errors.Is(err, io.EOF) {
		return Corrupt(Name(number), at, "the file ends too early")
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return fmt.Errorf("commitlog: reading %s: %w: %w", Name(number), ErrIO, NotFull(err))
}

// checksums reads a record, calculates its checksums, and sets those of r to what the record says. It takes no more
// memory than the window.
func (s *reader) checksums(at int64, r *Record) (crc, cross uint32, err error) {
	crc, cross = s.salt, s.salt
	end := at + int64(r.Size()) - recordTrailer
	for off := at; off < end; {
		b, err := s.bytes(off, int(min(end-off, int64(s.step()))), forwards)
		if err != nil {
			return 0, 0, err
		}
		crc, cross = Sum(crc, b), sumIEEE(cross, b)
		off += int64(len(b))
	}
	b, err := s.bytes(end, recordTrailer, forwards)
	if err != nil {
		return 0, 0, err
	}
	r.CRC, r.ieee = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	return crc, cross, nil
}

// readHeader reads the header of a room's record, and repairs a flipped bit.
func (s *reader) readHeader(at int64, k Key, to direction) (Record, error) {
	b, err := s.bytes(at, recordHeader, to)
	if err != nil {
		return Record{}, err
	}
	if r, ok := parseHeader(b, s.salt); ok && r.Key == k {
		return r, nil
	}
	r, _, ok, err := s.repair(at, at+maxRecord)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return Record{}, err
	}
	if !ok || r.Key != k {
		return Record{}, s.corrupt(at, "the header of an entry is damaged")
	}
	return r, nil
}

// readRecord reads and checks a room's record, and repairs a flipped bit. b is valid until the next call.
func (s *reader) readRecord(at int64, k Key) (r Record, b []byte, err error) {
	if r, err = s.readHeader(at, k, forwards); err != nil {
		return r, nil, err
	}
	if cap(s.buf) > maxKeptBuffer && r.Size() < cap(s.buf)/4 { // the large entry has been read
		s.buf = nil
	}
	if b, err = s.bytes(at, r.Size(), forwards); err != nil {
		return r, nil, err
	}
	if h, ok := parseHeader(b[:recordHeader], s.salt); ok && h == r && r.checkBody(b, s.salt) {
		return r, b, nil
	}
	_, f, ok, err := s.repair(at, at+int64(len(b)))
	if err != nil {
		return r, nil, err
	}
	if b, err = s.bytes(at, r.Size(), forwards); err != nil {
		return r, nil, err
	}
	if f.apply(b, at); !ok || !r.checkBody(b, s.salt) {
		return r, nil, s.corrupt(at, "an entry does not fit its checksum")
	}
	if s.onFlip != nil {
		s.onFlip(s.number, f.at)
	}
	return r, b, nil
}

// readEntry reads and checks an entry. payload is valid until the next call.
func (s *reader) readEntry(at int64, k Key) (r Record, payload []byte, err error) {
	r, b, err := s.readRecord(at, k)
	if err != nil {
		return r, nil, err
	}
	return r, b[recordHeader+int(r.namesLength):][:r.Length:r.Length], nil
}
