package room

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
)

// Digests stand in files, so they are what the standard library makes of the same bytes.
func TestDigestOfAction(t *testing.T) {
	action := []byte(`{"type":"create"}`)
	for _, id := range []string{"", "a", strings.Repeat("é", 63), strings.Repeat("x", 128), strings.Repeat("y", 20_000)} {
		for _, channel := range []string{"", "todos", strings.Repeat("z", 127)} {
			text := append(binary.AppendUvarint(nil, uint64(len(id))), id...)
			text = append(append(binary.AppendUvarint(text, uint64(len(channel))), channel...), action...)
			var want replyDigest
			binary.LittleEndian.PutUint32(want[:], crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
			binary.LittleEndian.PutUint32(want[4:], crc32.ChecksumIEEE(text))
			if got := digestOfAction(id, channel, action); got != want {
				t.Errorf("%d and %d bytes: %x, want %x", len(id), len(channel), got, want)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { digestOfAction("a1", "todos", action) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
