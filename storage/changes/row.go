package changes

import "github.com/denrooms/den/storage/sqlite"

// A Seq is the number of an action: 1, 2, 3 … without gaps; 0 is before the first.
type Seq uint64

// A Commit is what an action did.
type Commit struct {
	Seq  Seq   // its number; 0 if it changed nothing
	Rows []Row // changed rows of the declared tables, in the order of their first change
	// Rebased are declared tables that a schema change redefined: all of their rows count as changed by this action,
	// and none of them is in Rows.
	Rebased []string
}

// Row is a changed row: its columns in the table's order. The last one, deleted_at, is not NULL on a tombstone. A tombstone has no
// content: all columns are NULL but the id and the stamps, and created_at too for a row that was removed by DELETE.
type Row struct {
	Table string
	image []byte
}

// Values returns the columns.
func (r Row) Values() []sqlite.Value {
	n := 0
	for rest := r.image; len(rest) > 0; n++ {
		rest = rest[sqlite.Size(rest):]
	}
	return sqlite.Values(r.image, n)
}

// A Cell is a column of a row: its type, and the field that goes with it. Bytes must not be changed.
type Cell struct {
	Type  sqlite.Type
	Int   int64
	Float float64
	Bytes []byte
}

// Next returns the first column that is left in r, without making a Value of it, and removes the column from r. ok is false if there
// is none. The row that a copy of r holds stays whole.
func (r *Row) Next() (c Cell, ok bool) {
	if len(r.image) == 0 {
		return Cell{}, false
	}
	n := sqlite.Size(r.image)
	c = Cell{Type: sqlite.Type(r.image[0])}
	switch c.Type {
	case sqlite.Integer:
		c.Int = sqlite.Int64(r.image)
	case sqlite.Float:
		c.Float = sqlite.Float64(r.image)
	case sqlite.Text, sqlite.Blob:
		c.Bytes = r.image[5:n]
	}
	r.image = r.image[n:]
	return c, true
}
