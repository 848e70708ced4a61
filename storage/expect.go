package storage

import "fmt"

// Expect tells by ErrCorrupt that a row's columns have other types than those given. It is for reads of
// Den's own tables, whose columns SQLite keeps no types of: Int, Float and Bytes panic where a bad
// sector or another program has put something else there.
func (r *Rows) Expect(types ...Type) error {
	if len(types) != len(r.starts) {
		return fmt.Errorf("storage: %w: Expect of %d columns in a row of %d", ErrMisuse, len(types), len(r.starts))
	}
	for i, want := range types {
		if got := r.Type(i); got != want {
			return fmt.Errorf("storage: %w: the column %s has the storage class %v, where Den writes %v", ErrCorrupt, r.names[i], got, want)
		}
	}
	return nil
}
