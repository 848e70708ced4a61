package transport

import (
	"io"
	"strings"
	"testing"

	"github.com/denrooms/den/hibernate"
)

// A body that the room has read to its end takes no memory any more, although the request goes on; one that is half read does until
// it is closed.
func TestBodyGivesItsMemoryBack(t *testing.T) {
	const size = 100 << 10
	for name, read := range map[string]func(b *body) (left bool){
		"to its end": func(b *body) bool { io.Copy(io.Discard, struct{ io.Reader }{b}); return false },
		"half":       func(b *body) bool { io.CopyN(io.Discard, b, size/2); return true },
		"not at all": func(b *body) bool { return true },
	} {
		memory := hibernate.NewMemory(64 << 20)
		b := &body{memory: newUnfinished(memory, 1<<20, func() {})}
		if err := b.read(strings.NewReader(strings.Repeat("x", size)), size); err != nil {
			t.Fatal(err)
		}
		if memory.Used() == 0 {
			t.Fatal("the body takes no memory: nothing is tested")
		}
		left := read(b)
		if used := memory.Used(); (used > 0) != left {
			t.Errorf("%s: %d bytes count", name, used)
		}
		b.Close()
		if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF || memory.Used() != 0 {
			t.Errorf("%s, and closed: %d bytes count, and Read gives %d, %v", name, memory.Used(), n, err)
		}
	}
}
