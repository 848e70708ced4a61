package storage

// From the recorder's entries to rows, tombstones and the change log.

import (
	"bytes"
	"time"

	"github.com/denrooms/den/storage/sqlite"
)

const putSQL = `INSERT INTO _den_changes (id, number, at, first, last, highs, entries) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)`

// outcome is what an entry comes to.
type outcome uint8

const (
	nothing outcome = iota
	changed         // the row is there, with other content
	gone            // the row was live and was deleted
	buried          // the row was a tombstone and was deleted
)

// coalesce logs the action's entries and makes the Commit's rows.
func (b *Batch) coalesce(c *Commit) error {
	d := b.d
	r := &d.rec
	out, any := 0, r.unsynced
	for i := range r.entries {
		e := &r.entries[i]
		if err := d.reread(e); err != nil {
			return err
		}
		switch e.outcome(r) {
		case nothing:
			continue
		case changed, gone:
			if e.table.declared {
				out++
			}
			if err := d.raise(e, b.at); err != nil {
				return err
			}
		}
		any = true
	}
	if !any {
		return nil
	}
	c.Seq = d.Seq() + 1
	if out > 0 {
		c.Rows = make([]Row, 0, out)
	}
	for i := range r.entries {
		if err := b.write(&r.entries[i], c); err != nil {
			return err
		}
	}
	return nil
}

func (e *entry) outcome(r *recorder) outcome {
	switch {
	case e.table.rebased:
		return nothing
	case e.before.none() && e.after.none():
		return nothing
	case e.after.none():
		if before := r.bytes(e.before); Type(sqlite.Column(before, e.table.deletedAt())[0]) != Null {
			return buried
		}
		return gone
	case e.before.none(), !bytes.Equal(r.bytes(e.before), r.bytes(e.after)):
		return changed
	}
	return nothing
}

// raise takes the entry's stamps into its table's running maximum.
func (d *DB) raise(e *entry, at int64) error {
	t, r := e.table, &d.rec
	if err := d.loadHigh(t); err != nil {
		return err
	}
	if e.after.none() {
		r.scratch = appendStamp(r.scratch[:0], at, sqlite.Column(r.bytes(e.before), t.updatedAt()))
		t.raise(r.scratch)
		return nil
	}
	stamps := column2(r.bytes(e.after), t.updatedAt())
	t.raise(stamps[:sqlite.Size(stamps)])
	t.raise(stamps[sqlite.Size(stamps):])
	return nil
}

// column2 gives values i and i+1 of an image, which are its last.
func column2(img []byte, i int) []byte {
	for ; i > 0; i-- {
		img = img[sqlite.Size(img):]
	}
	return img
}

// appendStamp appends the time of a deletion, in the form of the table's stamps:
// a number, or where the row had a text a text.
func appendStamp(dst []byte, at int64, like []byte) []byte {
	if Type(like[0]) != Text {
		return sqlite.AppendInt64(dst, at)
	}
	return sqlite.AppendValue(dst, time.UnixMilli(at).UTC().Format("2006-01-02 15:04:05"))
}

// write puts one entry into the change log and, where its table is declared, into
// the commit.
func (b *Batch) write(e *entry, c *Commit) error {
	d, r, t := b.d, &b.d.rec, e.table
	key := r.bytes(e.key)
	switch e.outcome(r) {
	case nothing:
		return nil
	case buried:
		d.logChange(t, key, c.Seq, sqlite.Column(r.bytes(e.before), t.deletedAt()))
		return nil
	case gone:
		r.scratch = appendStamp(r.scratch[:0], b.at, sqlite.Column(r.bytes(e.before), t.updatedAt()))
		if t.declared {
			c.Rows = append(c.Rows, Row{t.name, t.tombstone(key, r.scratch)})
		}
		d.logChange(t, key, c.Seq, r.scratch)
		return nil
	}
	after := r.bytes(e.after)
	if t.declared {
		row := after
		if !e.full.none() {
			row = r.bytes(e.full)
		}
		c.Rows = append(c.Rows, Row{t.name, t.public(row)})
	}
	d.logChange(t, sqlite.Column(after, 0), c.Seq, nullImage)
	return nil
}

var nullImage = []byte{byte(Null)}

// reread takes an entry's row from the table where the hook's word is not
// enough: behind a failed statement, and for virtual generated columns.
func (d *DB) reread(e *entry) error {
	t := e.table
	if t.rebased || !e.doubtful && (t.virtual == nil || e.after.none()) {
		return nil
	}
	r := &d.rec
	s, err := d.rowStatement(t)
	if err != nil {
		return err
	}
	key := r.bytes(e.key)
	defer s.Release()
	s.Reserve(len(key))
	if err := s.BindRaw(1, key); err != nil {
		return failed(err)
	}
	row, err := d.step(s)
	if err != nil {
		return err
	}
	e.after, e.full = span{}, span{}
	if row {
		e.full = d.current(t, s)
		e.after = e.full
		if t.virtual != nil {
			e.after = r.withoutVirtual(t, e.full)
		}
	}
	return nil
}

// current keeps the row that s is at.
func (d *DB) current(t *table, s *statement) span {
	r := &d.rec
	start := len(r.mem)
	for i := range t.columns {
		r.mem = s.AppendColumn(r.mem, i)
	}
	return span{start, len(r.mem)}
}

// withoutVirtual copies a row in the form that the hook's images have.
func (r *recorder) withoutVirtual(t *table, row span) span {
	start, from := len(r.mem), row.start
	for i := range t.columns {
		n := sqlite.Size(r.mem[from:])
		if t.virtual[i] {
			r.mem = append(r.mem, byte(Null))
		} else {
			r.mem = append(r.mem, r.mem[from:from+n]...)
		}
		from += n
	}
	return span{start, len(r.mem)}
}
