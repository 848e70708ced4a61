package storage

import "fmt"

// Expect tells by ErrCorrupt that a row's columns have other types than those given. It is for who wants
// to know of each row; those who read Den's own tables find it out by Int, Float, Bytes and Err.
func (r *Rows) Expect(types ...Type) error {
	if len(types) != len(r.Columns()) {
		return fmt.Errorf("storage: %w: Expect of %d columns in a row of %d", ErrMisuse, len(types), len(r.Columns()))
	}
	if err := r.row.Expect(types...); err != nil {
		return fmt.Errorf("storage: %w: %v", ErrCorrupt, err)
	}
	return nil
}
