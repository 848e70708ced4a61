package segment

// What a scan writes: an end and repairs in the segment's own file, or a copy.

import (
	"bytes"
	"errors"

	"github.com/denrooms/den/storage/vfs"
)

// maxOverwrite is the most bytes after the index that Seal overwrites with zeros; of more it cuts the file off.
const maxOverwrite = 2 << 20

// errShort: a read gave less than it should.
var errShort = errors.New("less was read than there should be")

// Seal writes to f, the segment's file. It repairs flipped bits, writes an index of what was scanned at End, and
// removes what follows it. It does not sync. x is that index, whose Rooms is 0 if there is none, and size is where it
// ends. The error is the file's.
func (s *Scan) Seal(f vfs.File) (x Index, size int64, err error) {
	footer, _ := s.Places.Footer(s.salt)
	x, size = Index{Offset: uint32(s.End), Rooms: uint32(len(s.Places.Of))}, s.End+int64(len(footer))
	for _, flip := range s.flips {
		b := []byte{0}
		if n, err := f.ReadAt(b, flip.at); n == 0 {
			return x, size, err
		}
		b[0] ^= flip.mask
		if _, err := f.WriteAt(b, flip.at); err != nil {
			return x, size, err
		}
	}
	// What follows synced may be only in the cache of a system whose sync has failed, so it is written again.
	if err := copyRange(f, f, min(s.synced, s.End), s.End, nil); err != nil {
		return x, size, err
	}
	if _, err := f.WriteAt(footer, s.End); err != nil {
		return x, size, err
	}
	return x, size, s.removeRest(f, size)
}

// removeRest removes what follows the index, so that nothing takes it for records when CURRENT has to be made again.
// Zeros there stay, because to free them takes longer than all the rest.
func (s *Scan) removeRest(f vfs.File, from int64) error {
	s.buf, s.start = s.buf[:0], 0 // what was written since
	last := from
	for at := from; at < s.limit; {
		b, err := s.bytes(at, int(min(s.limit-at, scanWindow)), forwards)
		if err != nil {
			return err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			last = at + int64(n)
		}
		at += int64(len(b))
	}
	if last-from > maxOverwrite {
		return f.Truncate(from)
	}
	_, err := f.WriteAt(make([]byte, last-from), from)
	return err
}

// CopyTo copies what precedes end into another file, and repairs flipped bits. The error is the files'.
func (s *Scan) CopyTo(to vfs.File, end int64) error { return copyRange(to, s.f, 0, end, s.flips) }

// FlippedBits returns the offsets of the bytes in which a single bit has flipped.
func (s *Scan) FlippedBits() (at []int64) {
	for _, f := range s.flips {
		at = append(at, f.at)
	}
	return at
}

// copyRange copies a range of a file to the same place in another, or in itself, and repairs flipped bits.
func copyRange(to, from vfs.File, begin, end int64, flips []flip) error {
	b := make([]byte, max(min(end-begin, writeBytes), 0))
	for begin < end {
		part := b[:min(end-begin, writeBytes)]
		if n, err := from.ReadAt(part, begin); n < len(part) {
			return errors.Join(errShort, err)
		}
		for _, f := range flips {
			f.apply(part, begin)
		}
		if _, err := to.WriteAt(part, begin); err != nil {
			return err
		}
		begin += int64(len(part))
	}
	return nil
}
