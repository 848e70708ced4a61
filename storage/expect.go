package storage

import "fmt"

// Expect returns ErrCorrupt if the row's columns have other types than those given. It checks one row; Int, Float, Bytes and Err
// report a wrong type as well.
func (r *Rows) Expect(types ...Type) error {
	if len(types) != len(r.Columns()) {
		return fmt.Errorf("storage: %w: Expect of %d columns in a row of %d", ErrMisuse, len(types), len(r.Columns()))
	}
	if err := r.row.Expect(types...); err != nil {
		return fmt.Errorf("storage: %w: %v", ErrCorrupt, err)
	}
	return nil
}
