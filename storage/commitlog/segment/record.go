package segment

// Records: how an entry lies in a segment, and how a record is checked. The byte table is in the package's doc.

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// MaxEntry is the largest payload of a record, in bytes.
const MaxEntry = 256 << 20

// Flags of a record.
const (
	FlagNames  = 1 // the names follow the header: the room's first record here, and each that starts a chain
	FlagStarts = 2 // the room's chain starts here
	FlagIndex  = 4 // it is no entry, but an index
)

const (
	sector        = 512 // bytes of a file that a power cut takes or leaves
	recordHeader  = 72
	recordTrailer = 8
	maxRecord     = recordHeader + 1<<16 + MaxEntry + 8 + recordTrailer

	zeros = "\x00\x00\x00\x00\x00\x00\x00\x00"
)

// Key stands for a room in one epoch: the first bytes of SHA-256 of the names.
type Key [16]byte

// Identity is a room in one epoch.
type Identity struct {
	Namespace, Room, Epoch string
	Names                  string // all three, with zero bytes between them
	Name                   string // the namespace and the room of it
	Key                    Key    // of all three
}

// Identify returns the identity of a room in an epoch. No name has a zero byte.
func Identify(namespace, room, epoch string) Identity {
	return identityOf(namespace+"\x00"+room+"\x00"+epoch, len(namespace), len(namespace)+1+len(room))
}

// identityOf returns the identity with this text. namespace and name are where the namespace and the room's name end in it.
func identityOf(text string, namespace, name int) Identity {
	sum := sha256.Sum256([]byte(text))
	return Identity{
		Namespace: text[:namespace], Room: text[namespace+1 : name], Epoch: text[name+1:],
		Names: text, Name: text[:name], Key: Key(sum[:16]),
	}
}

// ParseNames returns the identity with these Names. It returns false if there is none.
func ParseNames(text string) (Identity, bool) {
	namespace := strings.IndexByte(text, 0)
	name := strings.LastIndexByte(text, 0)
	if namespace < 0 || name <= namespace || strings.Count(text, "\x00") != 2 {
		return Identity{}, false
	}
	return identityOf(text, namespace, name), true
}

// Record is the header of a record, and its checksums. Offsets are in the segment's file.
type Record struct {
	header      uint32 // checksum
	Length      uint32 // of the payload
	Chain       uint32 // checksum of the record before it in the file
	Previous    uint32 // offset of the room's record before it in the file; 0: none
	RoomChain   uint32 // checksum of the room's entry before it, in whatever file
	Synced      uint32 // how much of the file was durable when this was written
	Number      uint64 // of the room's entry
	Seq         uint64 // the room's
	At          int64  // Unix ms
	namesLength uint16 // bytes of them
	Flags       uint8
	Root        uint32 // offset of the record with the names of the room; 0: this one
	Key         Key
	CRC, ieee   uint32 // of the record: CRC-32C and CRC-32, when the body was read
}

func aligned(n int) int { return (n + 7) &^ 7 }

// RecordSize returns the size of a record with names and a payload of these lengths, in bytes.
func RecordSize(names, payload int) int { return aligned(recordHeader+names+payload) + recordTrailer }

// Size returns the size of the record in its file, in bytes.
func (r *Record) Size() int { return RecordSize(int(r.namesLength), int(r.Length)) }

// Sum returns the CRC-32C of b, begun with the salt of a segment, or with the sum of what precedes b.
func Sum(salt uint32, b []byte) uint32 {
	return crc32.Update(salt, crc32.MakeTable(crc32.Castagnoli), b)
}

func sumIEEE(salt uint32, b []byte) uint32 { return crc32.Update(salt, crc32.IEEETable, b) }

// appendRecord appends a record, and sets its lengths and checksums.
func appendRecord(dst []byte, salt uint32, r *Record, names string, payload []byte, more ...[]byte) []byte {
	start := len(dst)
	r.Length, r.namesLength = uint32(length(payload, more)), uint16(len(names))
	dst = append(appendHeader(dst, salt, r, names), payload...)
	for _, piece := range more {
		dst = append(dst, piece...)
	}
	dst = append(dst, zeros[:r.padding()]...)
	r.CRC, r.ieee = Sum(salt, dst[start:]), sumIEEE(salt, dst[start:])
	return r.appendTrailer(dst)
}

func length(payload []byte, more [][]byte) int {
	n := len(payload)
	for _, piece := range more {
		n += len(piece)
	}
	return n
}

// appendHeader appends the header, whose checksum it sets, and the names.
func appendHeader(dst []byte, salt uint32, r *Record, names string) []byte {
	start, le := len(dst), binary.LittleEndian
	dst = append(dst, make([]byte, recordHeader)...)
	h := dst[start:]
	le.PutUint32(h[4:], r.Length)
	le.PutUint32(h[8:], r.Chain)
	le.PutUint32(h[12:], r.Previous)
	le.PutUint32(h[16:], r.RoomChain)
	le.PutUint32(h[20:], r.Synced)
	le.PutUint64(h[24:], r.Number)
	le.PutUint64(h[32:], r.Seq)
	le.PutUint64(h[40:], uint64(r.At))
	le.PutUint16(h[48:], r.namesLength)
	h[50] = r.Flags
	le.PutUint32(h[52:], r.Root)
	copy(h[56:], r.Key[:])
	r.header = Sum(salt, h[4:])
	le.PutUint32(h, r.header)
	return append(dst, names...)
}

// padding returns how many zeros lie between the payload and the trailer.
func (r *Record) padding() int {
	return r.Size() - recordTrailer - recordHeader - int(r.namesLength) - int(r.Length)
}

// appendTrailer appends the checksums of all before.
func (r *Record) appendTrailer(dst []byte) []byte {
	le := binary.LittleEndian
	return le.AppendUint32(le.AppendUint32(dst, r.CRC), r.ieee)
}

// parseHeader decodes a header, and reports whether its checksum is good.
func parseHeader(h []byte, salt uint32) (Record, bool) {
	le := binary.LittleEndian
	r := Record{
		header: le.Uint32(h), Length: le.Uint32(h[4:]), Chain: le.Uint32(h[8:]), Previous: le.Uint32(h[12:]),
		RoomChain: le.Uint32(h[16:]), Synced: le.Uint32(h[20:]), Number: le.Uint64(h[24:]), Seq: le.Uint64(h[32:]),
		At: int64(le.Uint64(h[40:])), namesLength: le.Uint16(h[48:]), Flags: h[50], Root: le.Uint32(h[52:]), Key: Key(h[56:recordHeader]),
	}
	return r, r.header == Sum(salt, h[4:recordHeader]) && r.Length <= MaxEntry && r.Number > 0
}

// checkBody reports whether the checksums in the trailer are those of a record whose header is good. It sets them in r.
func (r *Record) checkBody(b []byte, salt uint32) bool {
	body, trailer := b[:len(b)-recordTrailer], b[len(b)-recordTrailer:]
	r.CRC, r.ieee = binary.LittleEndian.Uint32(trailer), binary.LittleEndian.Uint32(trailer[4:])
	return r.CRC == Sum(salt, body) && r.ieee == sumIEEE(salt, body)
}

// ParseRecord returns the record at the beginning of b, and reports whether it is whole. It repairs nothing. b may go
// on after the record.
func ParseRecord(b []byte, salt uint32) (Record, bool) {
	if len(b) < recordHeader+recordTrailer {
		return Record{}, false
	}
	r, ok := parseHeader(b[:recordHeader], salt)
	return r, ok && r.Size() <= len(b) && r.checkBody(b[:r.Size()], salt)
}
