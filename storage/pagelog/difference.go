package pagelog

// The difference between two pages, and a page's checksum.

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// PageSize is the size of a page, in bytes.
const PageSize = 4096

// ClearCounters zeroes the bytes of page 1 that entries leave out: the counters that SQLite's pager sets.
func ClearCounters(page []byte) {
	clear(page[24:28])
	clear(page[92:100])
}

// copyCounters copies the counters of page 1, so that no difference contains them.
func copyCounters(before, after []byte) {
	copy(before[24:28], after[24:28])
	copy(before[92:100], after[92:100])
}

// checksum is a page's CRC-32C, with the counters of page 1 as zeros.
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

// maxDifference is the largest size of a page's difference, in bytes: the whole page, and a pair of lengths for every two words.
const maxDifference = PageSize + 2*PageSize/16 + 16

// appendDifference appends the difference between two pages.
func appendDifference(dst, before, after []byte) []byte {
	const word, chunk = 8, 128
	dst = slices.Grow(dst, maxDifference)
	before, after = before[:PageSize], after[:PageSize]
	from := 0 // where the equal words before i begin
	for i := 0; i < PageSize; {
		if i%chunk == 0 && bytes.Equal(before[i:i+chunk], after[i:i+chunk]) {
			i += chunk
			continue
		}
		if binary.LittleEndian.Uint64(before[i:]) == binary.LittleEndian.Uint64(after[i:]) {
			i += word
			continue
		}
		end := i + word
		for end < PageSize && binary.LittleEndian.Uint64(before[end:]) != binary.LittleEndian.Uint64(after[end:]) {
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

// applyDifference turns a page from before into after, or from after into before. After an error the page's content is undefined.
func applyDifference(page, difference []byte) error {
	at := uint64(0)
	for len(difference) > 0 {
		same, n := binary.Uvarint(difference)
		words, m := binary.Uvarint(difference[max(n, 0):])
		if n <= 0 || m <= 0 {
			return ErrCorrupt
		}
		difference = difference[n+m:]
		at += 8 * same
		if same > PageSize || words > PageSize || at+8*words > PageSize || uint64(len(difference)) < 8*words {
			return ErrCorrupt
		}
		for range words {
			binary.LittleEndian.PutUint64(page[at:], binary.LittleEndian.Uint64(page[at:])^binary.LittleEndian.Uint64(difference))
			difference = difference[8:]
			at += 8
		}
	}
	return nil
}
