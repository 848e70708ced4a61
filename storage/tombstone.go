package storage

// Tombstones: the rows that tell clients of deletions. They go to everybody who may have the
// row, and to many who never had it. So a tombstone has the row's id, its stamps, and as many columns as the
// table, because clients read deleted_at from the last one; and nothing of what the row said.
//
// A row that was removed by DELETE is not in the table any more; its tombstone is made from the
// change log. A row whose deleted_at an SQL statement of the room has set stays in the table as it is. It is
// the room's own, and only what leaves the package is masked.

import (
	"bytes"

	"github.com/denrooms/den/storage/sqlite"
)

// tombstone is the row that tells of a deletion.
func (t *table) tombstone(key, stamp []byte) []byte {
	image := make([]byte, 0, len(key)+2*len(stamp)+len(t.columns))
	image = append(image, key...)
	for i := 1; i < len(t.columns); i++ {
		if i == t.updatedAt() || i == t.deletedAt() {
			image = append(image, stamp...)
		} else {
			image = append(image, byte(Null))
		}
	}
	return image
}

// deleted reports whether the deleted_at of a row's image is set.
func (t *table) deleted(row []byte) bool {
	return Type(sqlite.Column(row, t.deletedAt())[0]) != Null
}

// public is a copy of a row's image as clients may see it: the row, or what is left of it if its
// deleted_at is set.
func (t *table) public(row []byte) []byte {
	if !t.deleted(row) {
		return bytes.Clone(row)
	}
	masked := make([]byte, 0, len(t.columns)+len(row)/2)
	for i := range t.columns {
		n := sqlite.Size(row)
		if i == 0 || i >= t.createdAt() {
			masked = append(masked, row[:n]...)
		} else {
			masked = append(masked, byte(Null))
		}
		row = row[n:]
	}
	return masked
}
