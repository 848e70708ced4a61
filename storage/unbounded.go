package storage

import "math"

// DoUnbounded is Do without the limits of Options.MaxChanges, MaxChangeBytes and MaxActionBytes: for a
// migration, which may change every row. What it changes is held in memory until it ends.
func (b *Batch) DoUnbounded(at int64, fn func() error) (Commit, error) {
	d := b.d
	d.limit(math.MaxInt, math.MaxInt, math.MaxInt)
	defer d.limit(d.o.MaxChanges, d.o.MaxChangeBytes, d.o.MaxActionBytes)
	return b.Do(at, fn)
}

func (d *DB) limit(rows, bytes, written int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rec.maxRows, d.rec.maxBytes, d.rec.maxWritten = rows, bytes, written
}
