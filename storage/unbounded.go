package storage

import "math"

// DoUnbounded is Do without the limits of Options.MaxChanges and MaxChangeBytes: for a
// migration, which may change every row. What it changes is held in memory until it ends.
func (b *Batch) DoUnbounded(at int64, fn func() error) (Commit, error) {
	d := b.d
	d.limitChanges(math.MaxInt, math.MaxInt)
	defer d.limitChanges(d.o.MaxChanges, d.o.MaxChangeBytes)
	return b.Do(at, fn)
}

func (d *DB) limitChanges(rows, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rec.maxRows, d.rec.maxBytes = rows, bytes
}
