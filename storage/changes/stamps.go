package changes

// The highest stamp of each table. A client that knows no seq names the highest updated_at or deleted_at that it has seen.
// Stamps may repeat, fall, and be texts. So the log has, for each table and in each of its rows, the highest one that
// clients may have seen up to there, which does none of that.

import (
	"time"

	"github.com/denrooms/den/storage/sqlite"
)

// highest is the highest stamp of a table, a value; empty: there is none.
type highest struct {
	stamp  []byte
	next   []byte // what stamp will be after the action in work
	known  bool   // stamp was read from the database
	raised bool   // next differs from stamp
}

// raise takes a stamp into what the action will leave.
func (h *highest) raise(stamp []byte) {
	if t := sqlite.Type(stamp[0]); t == sqlite.Null || t == sqlite.Blob {
		return
	}
	if len(h.next) == 0 || sqlite.Compare(stamp, h.next) > 0 {
		h.next = append(h.next[:0], stamp...)
		h.raised = true
	}
}

// set makes stamp the highest, whatever was before.
func (h *highest) set(stamp []byte) {
	h.stamp, h.raised, h.known = stamp, false, true
	h.next = append(h.next[:0], stamp...)
}

// accept and undo end an action.
func (h *highest) accept() {
	if h.raised {
		h.stamp, h.raised = append(h.stamp[:0], h.next...), false
	}
}

func (h *highest) undo() {
	if h.raised {
		h.next, h.raised = append(h.next[:0], h.stamp...), false
	}
}

// stamps returns the updated_at and the deleted_at of a row.
func (t *Table) stamps(row []byte) (updated, deleted []byte) {
	for range t.updatedAt() {
		row = row[sqlite.Size(row):]
	}
	n := sqlite.Size(row)
	return row[:n], row[n:]
}

// appendDeletion appends the stamp of a deletion, in Unix milliseconds, or as a text if the row's updated_at was one.
func (t *Table) appendDeletion(dst []byte, at int64, row []byte) []byte {
	if updated, _ := t.stamps(row); sqlite.Type(updated[0]) != sqlite.Text {
		return sqlite.AppendInt64(dst, at)
	}
	return sqlite.AppendValue(dst, time.UnixMilli(at).UTC().Format("2006-01-02 15:04:05"))
}
