package commitlog

// Reading a segment's records through a window.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"

	"github.com/denrooms/den/storage/vfs"
)

const (
	window     = 8 << 10   // bytes that are read at once where a few records are wanted
	scanWindow = 256 << 10 // and where all are
)

// reader reads records of a segment.
type reader struct {
	f      vfs.File
	number uint64
	salt   uint32
	window int // how many bytes are read at once; 0: window
	buf    []byte
	start  int64 // of buf in the file

	noticed func(number uint64, at int64) // is told of flipped bits; may be nil
}

func (s *reader) corrupt(at int64, what string) error {
	return corrupt(segmentName(s.number), at, what)
}

// direction is where reading goes on.
type direction uint8

const (
	forwards direction = iota
	backwards
)

// bytes gives n bytes of the file, valid until the next call.
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

// step is how many bytes are read at once.
func (s *reader) step() int { return cmp.Or(s.window, window) }

// shortRead makes the error of a read that gave less than was wanted.
func shortRead(number uint64, at int64, err error) error {
	if errors.Is(err, io.EOF) {
		return corrupt(segmentName(number), at, "the file ends too early")
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return unknown("reading "+segmentName(number), err)
}

// sums reads a record and calculates its checksums, and puts those that it has into r. It takes
// no more memory than the window.
func (s *reader) sums(at int64, r *record) (crc, cross uint32, err error) {
	crc, cross = s.salt, s.salt
	end := at + int64(r.size()) - recordTrailer
	for off := at; off < end; {
		b, err := s.bytes(off, int(min(end-off, int64(s.step()))), forwards)
		if err != nil {
			return 0, 0, err
		}
		crc, cross = sum(crc, b), crossSum(cross, b)
		off += int64(len(b))
	}
	b, err := s.bytes(end, recordTrailer, forwards)
	if err != nil {
		return 0, 0, err
	}
	r.crc, r.cross = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	return crc, cross, nil
}

// header reads the header of a room's record, and as it was written if a bit of it has flipped.
func (s *reader) header(at int64, k key, to direction) (record, error) {
	b, err := s.bytes(at, recordHeader, to)
	if err != nil {
		return record{}, err
	}
	if r, ok := parseHeader(b, s.salt); ok && r.key == k {
		return r, nil
	}
	r, _, ok, err := s.mend(at, at+maxRecord)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return record{}, err
	}
	if !ok || r.key != k {
		return record{}, s.corrupt(at, "the header of an entry is damaged")
	}
	return r, nil
}

// whole reads and checks a room's record, and gives it as it was written if a bit of it has
// flipped. b is valid until the next call.
func (s *reader) whole(at int64, k key) (r record, b []byte, err error) {
	if r, err = s.header(at, k, forwards); err != nil {
		return r, nil, err
	}
	if cap(s.buf) > keepBuffer && r.size() < cap(s.buf)/4 { // the large entry is behind us
		s.buf = nil
	}
	if b, err = s.bytes(at, r.size(), forwards); err != nil {
		return r, nil, err
	}
	if h, ok := parseHeader(b[:recordHeader], s.salt); ok && h == r && r.checkBody(b, s.salt) {
		return r, b, nil
	}
	_, f, ok, err := s.mend(at, at+int64(len(b)))
	if err != nil {
		return r, nil, err
	}
	if b, err = s.bytes(at, r.size(), forwards); err != nil {
		return r, nil, err
	}
	if f.apply(b, at); !ok || !r.checkBody(b, s.salt) {
		return r, nil, s.corrupt(at, "an entry does not fit its checksum")
	}
	if s.noticed != nil {
		s.noticed(s.number, f.at)
	}
	return r, b, nil
}

// entry reads and checks an entry.
func (s *reader) entry(at int64, k key) (record, Entry, error) {
	r, b, err := s.whole(at, k)
	if err != nil {
		return r, Entry{}, err
	}
	payload := b[recordHeader+int(r.names):][:r.length:r.length]
	return r, Entry{Number: r.number, Seq: r.seq, At: r.at, Payload: payload}, nil
}

// names reads and checks the names in a room's record. They are their own checksum: the key is
// a hash of them.
func (s *reader) names(at int64, r *record) (identity, error) {
	b, err := s.bytes(at+recordHeader, int(r.names), forwards)
	if err != nil {
		return identity{}, err
	}
	if who, ok := parseNames(string(b)); ok && who.key == r.key {
		return who, nil
	}
	if _, b, err = s.whole(at, r.key); err != nil {
		return identity{}, err
	}
	who, ok := parseNames(string(b[recordHeader:][:r.names]))
	if !ok || who.key != r.key {
		return identity{}, s.corrupt(at, "the names of a room are damaged")
	}
	return who, nil
}
