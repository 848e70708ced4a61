package room

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/denrooms/den/storage"
)

// den verify reads stored replies in both of their forms, and finds what is cut off.
func TestInspectReplies(t *testing.T) {
	var key replyKey
	var place replyPlace
	reply := []byte(`{"type":"success","result":[[1]],"value":2}`)
	whole := append(append([]byte{repliesVersion}, key[:]...), place.digest[:]...)
	whole = append(binary.AppendUvarint(whole, uint64(len(reply))), reply...)
	for name, blob := range map[string][]byte{"whole": whole, "without content": stripped(whole)} {
		if err := inspectReplies(1, 0, blob); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := inspectReplies(1, 0, blob[:len(blob)-1]); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s, cut off: %v", name, err)
		}
	}
}
