package replies

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/denrooms/den/storage"
)

// Digests stand in files, so they are what the standard library makes of the same bytes.
func TestDigestOfAction(t *testing.T) {
	action := []byte(`{"type":"create"}`)
	for _, id := range []string{"", "a", strings.Repeat("é", 63), strings.Repeat("x", 128), strings.Repeat("y", 20_000)} {
		for _, channel := range []string{"", "todos", strings.Repeat("z", 127)} {
			text := append(binary.AppendUvarint(nil, uint64(len(id))), id...)
			text = append(append(binary.AppendUvarint(text, uint64(len(channel))), channel...), action...)
			var want Digest
			binary.LittleEndian.PutUint32(want[:], crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
			binary.LittleEndian.PutUint32(want[4:], crc32.ChecksumIEEE(text))
			if got := DigestOf(id, channel, action); got != want {
				t.Errorf("%d and %d bytes: %x, want %x", len(id), len(channel), got, want)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { DigestOf("a1", "todos", action) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// den verify reads stored replies in both of their forms, and finds what is cut off.
func TestInspectReplies(t *testing.T) {
	var key Key
	var place place
	reply := []byte(`{"type":"success","result":[[1]],"value":2}`)
	whole := append(append([]byte{version}, key[:]...), place.digest[:]...)
	whole = append(binary.AppendUvarint(whole, uint64(len(reply))), reply...)
	for name, blob := range map[string][]byte{"whole": whole, "without content": stripped(whole)} {
		if err := Inspect(1, 0, blob); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := Inspect(1, 0, blob[:len(blob)-1]); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s, cut off: %v", name, err)
		}
	}
}
