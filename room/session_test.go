package room

import (
	"testing"
	"unsafe"
)

// There is a Session for each client of each room that sleeps. Presence, of which most have none,
// has not made it larger than the next of Go's size classes.
func TestSessionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > 144 {
		t.Errorf("a Session takes %d bytes, want at most 144: Go would give it 160", size)
	}
}
