package pages

import (
	"time"

	"github.com/denrooms/den/storage"
)

const (
	// TurnBytes is how much is read in one turn, in bytes of JSON.
	TurnBytes = 1 << 20
	// turnTime is how long a turn reads.
	turnTime = 5 * time.Millisecond
	// LookBytes is how many bytes of JSON are read between two looks at the clock, and lookRows how many rows.
	LookBytes = 64 << 10
	lookRows  = 16
)

// A Clock tells the time.
type Clock interface {
	// Now returns the time.
	Now() time.Time
}

// A Quota is how much a turn may still read.
type Quota struct {
	clock Clock
	left  int       // bytes
	until time.Time // zero: nothing has been read
	rows  int       // since the clock was looked at
	bytes int       // since then
	over  bool
}

// NewQuota returns the quota of a turn: TurnBytes, or most if that is less.
func NewQuota(clock Clock, most int) Quota {
	return Quota{clock: clock, left: min(TurnBytes, most)}
}

// Left returns how many bytes may still be read.
func (q *Quota) Left() int { return q.left }

// Spent reports whether the turn has read its piece.
func (q *Quota) Spent() bool { return q.over }

// Row counts a row that takes some bytes in an answer, 0 if it is left out. It reports whether another one may be
// read.
func (q *Quota) Row(bytes int) bool {
	if q.until.IsZero() {
		q.until = q.clock.Now().Add(turnTime)
	}
	q.left -= bytes
	q.rows++
	q.bytes += bytes
	if q.rows >= lookRows || q.bytes >= LookBytes {
		q.rows, q.bytes = 0, 0
		q.over = q.over || !q.clock.Now().Before(q.until)
	}
	q.over = q.over || q.left <= 0
	return !q.over
}

// Read reads rows as long as the turn may read, and closes them. It calls see with each, which returns how many bytes
// of an answer the row takes. n is how many rows it has read. more is false if the turn has read its piece.
func (q *Quota) Read(rows *storage.Rows, see func(*storage.Rows) (bytes int)) (n int, more bool, err error) {
	defer rows.Close()
	for more = true; more && rows.Next(); n++ {
		more = q.Row(see(rows))
	}
	return n, more, rows.Err()
}
