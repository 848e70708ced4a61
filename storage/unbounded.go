package storage

import "math"

// DoUnbounded is Do without the limits of Options.MaxChanges, MaxChangeBytes and MaxActionBytes: for a
// migration, which may change every row. What it changes is held in memory until it ends.
func (b *Batch) DoUnbounded(at int64, fn func() error) (Commit, error) {
	o := b.d.o
	b.limit(math.MaxInt, math.MaxInt, math.MaxInt)
	defer b.limit(o.MaxChanges, o.MaxChangeBytes, o.MaxActionBytes)
	return b.Do(at, fn)
}

func (b *Batch) limit(rows, bytes, written int) {
	b.d.sql.mu.Lock()
	defer b.d.sql.mu.Unlock()
	b.d.sql.changes.Limit(rows, bytes)
	b.maxWritten = written
}
