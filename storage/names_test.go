package storage

import (
	"strings"
	"testing"

	"github.com/denrooms/den/storage/roomfile"
)

// TestRoomsWithAnyName: a room under a strange name can be opened and keeps it.
func TestRoomsWithAnyName(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"..", "a/../b", "nul", "\x00", strings.Repeat("Ü", 128), "tab\t", "'; DROP TABLE x"} {
		o := Options{Namespace: "rooms", Room: name, Synchronous: Off}
		var err error
		if o.Path, err = roomfile.Path(dir, o.Namespace, name); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			d, err := Open(o)
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
		o.Room += "2"
		_, err = Open(o)
		wantError(t, err, ErrWrongRoom)
	}
}
