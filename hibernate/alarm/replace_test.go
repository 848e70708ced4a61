package alarm

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/denrooms/den/storage"
)

// An index that is refused while the clock runs is replaced, and the new one has the bounds of all rooms. It does not say that it
// has all rooms.
func TestRefusedIndexIsReplaced(t *testing.T) {
	c := newTestClock(t)
	replaced := 0
	c.Clock.o.Replace = func(error) bool {
		replaced++
		c.openErr = nil
		must(t, os.Remove(c.file.Options().Path))
		return true
	}
	must(t, c.Lower("n/a", c.in(10*time.Second)))
	c.MarkComplete("n")
	must(t, c.Sync())
	must(t, c.db.Close())
	c.db, c.openErr = nil, fmt.Errorf("page 4: %w", storage.ErrCorrupt)
	c.MarkComplete("n") // not written yet
	must(t, c.Lower("n/b", c.in(20*time.Second)))
	if replaced != 1 {
		t.Errorf("replaced %d times", replaced)
	}
	c.wantRows("n/a:10 n/b:20")
	if c.Complete("n") {
		t.Error("the new index says that it has all rooms")
	}
	must(t, c.db.Internal().Each("SELECT name FROM _den_due_state", func(r *storage.Rows) { t.Errorf("the new index has a state %q", r.Bytes(0)) }))
}

// Without Replace, and where it says no, the error is the caller's, and the next write opens the file again.
func TestRefusedIndexStays(t *testing.T) {
	c := newTestClock(t)
	c.Clock.o.Replace = func(error) bool { return false }
	must(t, c.Lower("n/a", c.in(10*time.Second)))
	must(t, c.db.Close())
	c.db, c.openErr = nil, fmt.Errorf("page 4: %w", storage.ErrCorrupt)
	if err := c.Lower("n/b", c.in(20*time.Second)); err == nil {
		t.Error("no error")
	}
	c.openErr = nil
	must(t, c.Lower("n/b", c.in(20*time.Second)))
	c.wantRows("n/a:10 n/b:20")
}
