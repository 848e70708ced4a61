package commitlog

// Records: how an entry lies in a segment, and how one is checked. The byte table is in the
// package's doc.

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"strings"
)

const (
	sector        = 512 // bytes of a file that a power cut takes or leaves
	recordHeader  = 72
	recordTrailer = 8
	maxRecord     = recordHeader + 1<<16 + MaxEntry + 8 + recordTrailer

	zeros = "\x00\x00\x00\x00\x00\x00\x00\x00"

	flagNames  = 1 // the names follow the header: the room's first record here, and each that starts a chain
	flagStarts = 2 // the room's chain starts here
	flagIndex  = 4 // it is no entry, but an index
)

// key stands for a room and its epoch.
type key [16]byte

// identity is a room and its epoch.
type identity struct {
	namespace, room, epoch string
	text                   string // all three, with zero bytes between them
	name                   string // the namespace and the room of it
	key                    key    // of all three
}

func identify(namespace, room, epoch string) identity {
	return identityOf(namespace+"\x00"+room+"\x00"+epoch, len(namespace), len(namespace)+1+len(room))
}

// identityOf makes an identity of its text, in which the namespace and the name end there.
func identityOf(text string, namespace, name int) identity {
	sum := sha256.Sum256([]byte(text))
	return identity{
		namespace: text[:namespace], room: text[namespace+1 : name], epoch: text[name+1:],
		text: text, name: text[:name], key: key(sum[:16]),
	}
}

func (i *identity) names() string { return i.text }

// parseNames is the opposite of names.
func parseNames(text string) (identity, bool) {
	namespace := strings.IndexByte(text, 0)
	name := strings.LastIndexByte(text, 0)
	if namespace < 0 || name <= namespace || strings.Count(text, "\x00") != 2 {
		return identity{}, false
	}
	return identityOf(text, namespace, name), true
}

// record is a record's header, and where it ends.
type record struct {
	header     uint32 // checksum
	length     uint32 // of the payload
	chain      uint32 // checksum of the record before it in the file
	previous   uint32 // offset of the room's record before it in the file; 0: none
	roomChain  uint32 // checksum of the room's entry before it, in whatever file
	synced     uint32 // how much of the file was durable when this was written
	number     uint64
	seq        uint64
	at         int64
	names      uint16
	flags      uint8
	root       uint32 // offset of the record with the names of the room; 0: this one
	key        key
	crc, cross uint32 // of the record: CRC-32C and CRC-32, when the body was read
}

func aligned(n int) int { return (n + 7) &^ 7 }

// recordSize is how many bytes a record has with its padding and trailer.
func recordSize(names, payload int) int { return aligned(recordHeader+names+payload) + recordTrailer }

func (r *record) size() int { return recordSize(int(r.names), int(r.length)) }

// sum is the CRC-32C of b, begun with the salt of a segment.
func sum(salt uint32, b []byte) uint32 {
	return crc32.Update(salt, crc32.MakeTable(crc32.Castagnoli), b)
}

func crossSum(salt uint32, b []byte) uint32 { return crc32.Update(salt, crc32.IEEETable, b) }

// appendRecord appends a record, whose payload is in pieces, and fills in its checksums.
func appendRecord(dst []byte, salt uint32, r *record, names string, payload []byte, more ...[]byte) []byte {
	start := len(dst)
	r.length, r.names = uint32(length(payload, more)), uint16(len(names))
	dst = append(appendHeader(dst, salt, r, names), payload...)
	for _, piece := range more {
		dst = append(dst, piece...)
	}
	dst = append(dst, zeros[:r.padding()]...)
	r.crc, r.cross = sum(salt, dst[start:]), crossSum(salt, dst[start:])
	return r.appendTrailer(dst)
}

// length is how many bytes a payload has that is in pieces.
func length(payload []byte, more [][]byte) int {
	n := len(payload)
	for _, piece := range more {
		n += len(piece)
	}
	return n
}

// appendHeader appends the header, whose checksum it fills in, and the names.
func appendHeader(dst []byte, salt uint32, r *record, names string) []byte {
	start, le := len(dst), binary.LittleEndian
	dst = append(dst, make([]byte, recordHeader)...)
	h := dst[start:]
	le.PutUint32(h[4:], r.length)
	le.PutUint32(h[8:], r.chain)
	le.PutUint32(h[12:], r.previous)
	le.PutUint32(h[16:], r.roomChain)
	le.PutUint32(h[20:], r.synced)
	le.PutUint64(h[24:], r.number)
	le.PutUint64(h[32:], r.seq)
	le.PutUint64(h[40:], uint64(r.at))
	le.PutUint16(h[48:], r.names)
	h[50] = r.flags
	le.PutUint32(h[52:], r.root)
	copy(h[56:], r.key[:])
	r.header = sum(salt, h[4:])
	le.PutUint32(h, r.header)
	return append(dst, names...)
}

// padding is how many zeros lie between the payload and the trailer.
func (r *record) padding() int {
	return r.size() - recordTrailer - recordHeader - int(r.names) - int(r.length)
}

// appendTrailer appends the checksums of all before.
func (r *record) appendTrailer(dst []byte) []byte {
	le := binary.LittleEndian
	return le.AppendUint32(le.AppendUint32(dst, r.crc), r.cross)
}

// parseHeader checks a header's checksum and takes it apart.
func parseHeader(h []byte, salt uint32) (record, bool) {
	le := binary.LittleEndian
	r := record{
		header: le.Uint32(h), length: le.Uint32(h[4:]), chain: le.Uint32(h[8:]), previous: le.Uint32(h[12:]),
		roomChain: le.Uint32(h[16:]), synced: le.Uint32(h[20:]), number: le.Uint64(h[24:]), seq: le.Uint64(h[32:]),
		at: int64(le.Uint64(h[40:])), names: le.Uint16(h[48:]), flags: h[50], root: le.Uint32(h[52:]), key: key(h[56:recordHeader]),
	}
	return r, r.header == sum(salt, h[4:recordHeader]) && r.length <= MaxEntry && r.number > 0
}

// checkBody checks a whole record, whose header is good, by its trailer.
func (r *record) checkBody(b []byte, salt uint32) bool {
	body, trailer := b[:len(b)-recordTrailer], b[len(b)-recordTrailer:]
	r.crc, r.cross = binary.LittleEndian.Uint32(trailer), binary.LittleEndian.Uint32(trailer[4:])
	return r.crc == sum(salt, body) && r.cross == crossSum(salt, body)
}

// parseRecord parses the record at the beginning of b. b may go on behind it.
func parseRecord(b []byte, salt uint32) (record, bool) {
	if len(b) < recordHeader+recordTrailer {
		return record{}, false
	}
	r, ok := parseHeader(b[:recordHeader], salt)
	return r, ok && r.size() <= len(b) && r.checkBody(b[:r.size()], salt)
}
