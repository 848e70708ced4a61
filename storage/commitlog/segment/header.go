package segment

// The preamble of a segment, what precedes its first record: the header and two hints. And the name of its file.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/denrooms/den/storage/vfs"
)

// Start is the offset of the first record. The header and the two hints before it have a sector each.
const Start = 1536

const (
	magic      = "DenLog\x00\x00"
	version    = 3
	headerSize = 88
	suffix     = ".log"

	flagRelaxed = 2 // the generation is Relaxed
)

// Header is the header of a segment.
type Header struct {
	ID         [16]byte
	Number     uint64
	Generation uint64
	Begun      int64  // Unix ms
	First      uint64 // number of the log's first segment then
	Floor      uint64 // segments below it had only released entries then
	Unsynced   uint64 // the newest generation then that was Relaxed and had crashed; 0: none
	Relaxed    bool   // its own generation is
}

// Encode returns the preamble of a new segment, Start bytes without hints, and the segment's salt.
func (h *Header) Encode() (preamble []byte, salt uint32) {
	b, le := make([]byte, Start), binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[8:], version)
	if h.Relaxed {
		le.PutUint32(b[12:], flagRelaxed)
	}
	copy(b[16:], h.ID[:])
	for i, v := range []uint64{h.Number, h.Generation, uint64(h.Begun), h.First, h.Floor, h.Unsynced} {
		le.PutUint64(b[32+8*i:], v)
	}
	salt = Sum(0, b[:headerSize-4])
	le.PutUint32(b[headerSize-4:], salt)
	return b, salt
}

// CheckHeader returns the salt of a segment that begins with b, if its header is whole and says that it is this
// segment of the log with this ID. The errors are ErrCorrupt, ErrNewer and ErrOlder.
func CheckHeader(b []byte, id [16]byte, number uint64) (salt uint32, err error) {
	name, le := Name(number), binary.LittleEndian
	if len(b) < headerSize || string(b[:8]) != magic {
		return 0, Corrupt(name, 0, "not the header of a segment")
	}
	salt = le.Uint32(b[headerSize-4:])
	whole := salt == Sum(0, b[:headerSize-4])
	if old := le.Uint32(b[8:]) < version && le.Uint32(b[60:]) == Sum(0, b[:60]); whole || old {
		if err := CheckVersion(name, le.Uint32(b[8:]), version); err != nil {
			return 0, err
		}
	}
	switch {
	case !whole:
		return 0, Corrupt(name, 0, "not the header of a segment")
	case [16]byte(b[16:32]) != id || le.Uint64(b[32:]) != number:
		return 0, Corrupt(name, 0, "a segment of another log, or another segment of this one")
	}
	return salt, nil
}

// ReadHeader reads the header of a segment of any log. It repairs a flipped bit. ErrCorrupt: the header is damaged in
// more than one bit. ErrNewer, ErrOlder, ErrIO.
func ReadHeader(f io.ReaderAt, number uint64) (h Header, err error) {
	b := make([]byte, headerSize)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return h, shortRead(number, int64(n), err)
	}
	return decodeHeader(b, number)
}

// decodeHeader checks a header, repairs a flipped bit in b, and decodes it.
func decodeHeader(b []byte, number uint64) (h Header, err error) {
	le := binary.LittleEndian
	if _, err = CheckHeader(b, [16]byte(b[16:32]), number); errors.Is(err, ErrCorrupt) {
		if _, ok := repairHeader(b); ok {
			_, err = CheckHeader(b, [16]byte(b[16:32]), number)
		}
	}
	if err != nil {
		return h, err
	}
	return Header{
		ID: [16]byte(b[16:32]), Number: number, Generation: le.Uint64(b[40:]), Begun: int64(le.Uint64(b[48:])),
		First: le.Uint64(b[56:]), Floor: le.Uint64(b[64:]), Unsynced: le.Uint64(b[72:]), Relaxed: le.Uint32(b[12:])&flagRelaxed != 0,
	}, nil
}

// Name returns the name of a segment's file.
func Name(number uint64) string { return fmt.Sprintf("%016x%s", number, suffix) }

// ParseName is the opposite of Name. It returns false for the name of any other file.
func ParseName(name string) (uint64, bool) {
	if len(name) != 16+len(suffix) || name[16:] != suffix {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:16], 16, 64)
	return n, err == nil && n > 0 && Name(n) == name
}

// ReadPreamble reads what precedes the first record, Start bytes. If the file is shorter, the rest is zeros.
// ErrCorrupt: the file has less than minimum bytes. ErrIO.
func ReadPreamble(f io.ReaderAt, number uint64, minimum int64) ([]byte, error) {
	b := make([]byte, Start)
	n, err := f.ReadAt(b, 0)
	if int64(n) < minimum || n < len(b) && !errors.Is(err, io.EOF) {
		return nil, shortRead(number, int64(n), err)
	}
	return b, nil
}

// Hint returns the n-th hint of a segment, and its offset, which is not that of the hint before it. offset is that of
// the newest index's record.
func Hint(salt uint32, n int, offset uint32) (at int64, b []byte) {
	b = binary.LittleEndian.AppendUint32(nil, offset)
	return hintOffset(n), binary.LittleEndian.AppendUint32(b, Sum(salt, b))
}

func hintOffset(n int) int64 { return sector * int64(1+n%2) }

// hints returns the offsets in the two hints; 0 for one that is not good.
func hints(preamble []byte, salt uint32) []uint32 {
	return []uint32{parseHint(preamble[hintOffset(0):], salt), parseHint(preamble[hintOffset(1):], salt)}
}

// parseHint returns the offset in a hint; 0 if the hint is not good.
func parseHint(b []byte, salt uint32) (offset uint32) {
	if binary.LittleEndian.Uint32(b[4:]) != Sum(salt, b[:4]) {
		return 0
	}
	return binary.LittleEndian.Uint32(b)
}

// FindSalt finds the salt of a segment whose header is damaged. If a single bit is wrong, header is the repaired
// header. Otherwise the salt is that of the first record, or the damaged header's own if a hint fits it. preamble is
// what precedes the first record. ErrIO, ErrCorrupt: the first record cannot be read.
func FindSalt(f io.ReaderAt, id [16]byte, number uint64, preamble []byte) (salt uint32, header []byte, found bool, err error) {
	header = slices.Clone(preamble[:headerSize])
	if _, ok := repairHeader(header); ok {
		if salt, err := CheckHeader(header, id, number); err == nil {
			return salt, header, true, nil
		}
	}
	first := make([]byte, recordHeader)
	if n, err := f.ReadAt(first, Start); n < len(first) && !errors.Is(err, io.EOF) {
		return 0, nil, false, shortRead(number, Start, err)
	}
	for _, salt := range []uint32{binary.LittleEndian.Uint32(preamble[headerSize-4:]), binary.LittleEndian.Uint32(first[8:])} {
		r, ok := parseHeader(first, salt)
		if ok && r.Chain == salt || parseHint(preamble[hintOffset(0):], salt)|parseHint(preamble[hintOffset(1):], salt) != 0 {
			return salt, nil, true, nil
		}
	}
	return 0, nil, false, nil
}

// repairHeader finds the single bit that is wrong in the header of a segment, and changes it in b.
func repairHeader(b []byte) (flip, bool) {
	for bit := range headerSize * 8 {
		f := flip{at: int64(bit / 8), mask: 1 << (bit % 8)}
		f.apply(b, 0)
		if binary.LittleEndian.Uint32(b[headerSize-4:]) == Sum(0, b[:headerSize-4]) {
			return f, true
		}
		f.apply(b, 0)
	}
	return flip{}, false
}

// HasRecord reports whether a segment has a first record whose header is good. The error is the file's.
func HasRecord(f io.ReaderAt) (bool, error) {
	b := make([]byte, Start+recordHeader)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return false, err
	}
	_, ok := parseHeader(b[Start:], binary.LittleEndian.Uint32(b[headerSize-4:]))
	return ok, nil
}

// OnlyZeros reports whether a segment has only zeros from Start up to size. ErrCorrupt: the file is shorter. ErrIO.
func OnlyZeros(f vfs.File, number uint64, size int64) (bool, error) {
	r := reader{f: f, number: number, window: scanWindow}
	return r.onlyZeros(Start, size)
}
