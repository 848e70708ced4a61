package storage

// What a transaction did to the file, page by page: the payload of an entry of the
// commit log. It holds differences, so that an entry is about as large as what was
// written, and can be walked in both directions.
//
//	payload, little endian
//	   0  u8   1; or 2: the first pages, as many as the database had before the transaction,
//	           tell how it was then, as differences from nothing. So begins a room that has
//	           no file (born.go)
//	   1  u24  the layout of the file that it was made for: that of _den_meta, modulo 2^24 (compact.go)
//	   4  u32  pages of the database before the transaction
//	   8  u32  pages behind it
//	  12  u32  how many pages follow
//	  16  for each page
//	        u32  number, from 1
//	        u32  CRC-32C of the page's 4096 bytes behind the transaction, see below
//	        u32  length of the difference
//	        the difference: the page before XOR the page behind, in words of 8 bytes, as
//	        pairs of (uvarint words that are equal, uvarint words that differ, those
//	        words); what follows the last pair is equal
//
// A page that was not there counts as zeros. Of page 1, the bytes 24 to 27 and 92 to 99 are
// left out, and are zeros for its CRC: a counter that SQLite's pager sets by itself whenever
// it writes the page, and that means nothing in WAL mode.

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

const (
	payloadVersion = 1
	payloadWhole   = 2
	payloadHeader  = 16
	pageHeader     = 12
)

// checksum is a page's CRC-32C.
func checksum(number uint32, page []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	if number != 1 {
		return crc32.Checksum(page, table)
	}
	var none [8]byte
	sum := crc32.Update(0, table, page[:24])
	sum = crc32.Update(sum, table, none[:4])
	sum = crc32.Update(sum, table, page[28:92])
	sum = crc32.Update(sum, table, none[:])
	return crc32.Update(sum, table, page[100:])
}

// sameCounter gives page 1 before a transaction the counter that it has behind it.
func sameCounter(before, after []byte) {
	copy(before[24:28], after[24:28])
	copy(before[92:100], after[92:100])
}

// maxDifference is the most that the difference of a page takes: all of it, and a pair of
// lengths for every two words.
const maxDifference = pageSize + 2*pageSize/16 + 16

// appendDifference appends the difference between two pages.
func appendDifference(dst, before, after []byte) []byte {
	const word, chunk = 8, 128
	dst = slices.Grow(dst, maxDifference)
	before, after = before[:pageSize], after[:pageSize]
	from := 0 // where what was not looked at yet, or is equal, begins
	for i := 0; i < pageSize; {
		if i%chunk == 0 && bytes.Equal(before[i:i+chunk], after[i:i+chunk]) {
			i += chunk
			continue
		}
		if binary.LittleEndian.Uint64(before[i:]) == binary.LittleEndian.Uint64(after[i:]) {
			i += word
			continue
		}
		end := i + word
		for end < pageSize && binary.LittleEndian.Uint64(before[end:]) != binary.LittleEndian.Uint64(after[end:]) {
			end += word
		}
		dst = binary.AppendUvarint(dst, uint64(i-from)/word)
		dst = binary.AppendUvarint(dst, uint64(end-i)/word)
		words := dst[len(dst) : len(dst)+end-i]
		dst = dst[:len(dst)+end-i]
		subtle.XORBytes(words, before[i:end], after[i:end])
		i = end
		from = end
	}
	return dst
}

// appendPage appends a page's part of a payload.
func appendPage(dst []byte, number uint32, before, after []byte) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, number)
	dst = binary.LittleEndian.AppendUint32(dst, checksum(number, after))
	dst = append(dst, 0, 0, 0, 0)
	dst = appendDifference(dst, before, after)
	binary.LittleEndian.PutUint32(dst[start+8:], uint32(len(dst)-start-pageHeader))
	return dst
}

// appendFirst appends a page that was not there before. It changes the page: what no entry tells
// of the first one.
func appendFirst(dst []byte, number uint32, page []byte) []byte {
	none := make([]byte, len(page))
	if number == 1 {
		sameCounter(page, none)
	}
	return appendPage(dst, number, none, page)
}

// applyDifference turns a page from before into behind, or the other way round.
func applyDifference(page, difference []byte) error {
	at := uint64(0)
	for len(difference) > 0 {
		same, n := binary.Uvarint(difference)
		words, m := binary.Uvarint(difference[max(n, 0):])
		if n <= 0 || m <= 0 {
			return errPayload
		}
		difference = difference[n+m:]
		at += 8 * same
		if same > pageSize || words > pageSize || at+8*words > pageSize || uint64(len(difference)) < 8*words {
			return errPayload
		}
		for range words {
			binary.LittleEndian.PutUint64(page[at:], binary.LittleEndian.Uint64(page[at:])^binary.LittleEndian.Uint64(difference))
			difference = difference[8:]
			at += 8
		}
	}
	return nil
}

var errPayload = fmt.Errorf("%w: an entry of the commit log cannot be read", ErrCorrupt)

// A payload is an entry's content, taken apart.
type payload struct {
	before, after uint32 // pages of the database
	layout        uint32 // a layoutTag
	whole         bool   // the first pages are those before
	count         uint32 // of pages
	pages         []byte
}

func parsePayload(b []byte) (payload, error) {
	if len(b) < payloadHeader {
		return payload{}, errPayload
	}
	if b[0] != payloadVersion && b[0] != payloadWhole {
		return payload{}, fmt.Errorf("%w: an entry of the commit log has version %d, this Den knows up to %d", ErrNewer, b[0], payloadWhole)
	}
	return payload{
		before: binary.LittleEndian.Uint32(b[4:]),
		after:  binary.LittleEndian.Uint32(b[8:]),
		layout: uint32(b[1]) | uint32(b[2])<<8 | uint32(b[3])<<16,
		whole:  b[0] == payloadWhole,
		count:  binary.LittleEndian.Uint32(b[12:]),
		pages:  b[payloadHeader:],
	}, nil
}

// layoutTag is what a payload says of the layout that it was made for.
func layoutTag(layout uint64) uint32 { return uint32(layout & 0xffffff) }

// putLayout notes in a payload which layout it was made for.
func putLayout(payload []byte, layout uint64) {
	tag := layoutTag(layout)
	payload[1], payload[2], payload[3] = byte(tag), byte(tag>>8), byte(tag>>16)
}

// fits returns an error for a payload that was made for another layout: its pages are not the file's.
func (p payload) fits(layout uint64, number uint64) error {
	if p.layout == layoutTag(layout) {
		return nil
	}
	return fmt.Errorf("%w: transaction %d was made for another file, before or after one was compacted", ErrLogMismatch, number)
}

// each calls do for each page, those before too.
func (p payload) each(do func(number, sum uint32, difference []byte) error) error {
	return p.from(0, do)
}

// changed calls do for each page that the transaction changed.
func (p payload) changed(do func(number, sum uint32, difference []byte) error) error {
	if p.whole {
		return p.from(p.before, do)
	}
	return p.from(0, do)
}

// from is each without the first skip pages.
func (p payload) from(skip uint32, do func(number, sum uint32, difference []byte) error) error {
	rest := p.pages
	for i := range p.count {
		if len(rest) < pageHeader {
			return errPayload
		}
		number, sum := binary.LittleEndian.Uint32(rest), binary.LittleEndian.Uint32(rest[4:])
		length := binary.LittleEndian.Uint32(rest[8:])
		rest = rest[pageHeader:]
		if number == 0 || uint64(length) > uint64(len(rest)) {
			return errPayload
		}
		if i >= skip {
			if err := do(number, sum, rest[:length]); err != nil {
				return err
			}
		}
		rest = rest[length:]
	}
	if len(rest) > 0 {
		return errPayload
	}
	return nil
}
