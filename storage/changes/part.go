package changes

// Reading the log in parts, for an answer that is too large to be read at once. What a reader must remember between two
// parts is a place, so a reader that is slow, or never comes back, holds nothing of the database.

import (
	"slices"

	"github.com/denrooms/den/storage/sqlite"
)

// The limits of a part. Each takes some 2 ms.
const (
	partRows  = 4096      // how many rows it has at most
	partBytes = 256 << 10 // how many bytes of the log it looks through before it ends at the next row of the log
)

// A Place is a place in the changes of one table: after all of its changes up to Seq, and after the first Taken of those
// that come after. The place {Seq: s} is where Since(s) begins.
type Place struct {
	Seq   Seq
	Taken int
}

// after reports whether a place lies after another one.
func (p Place) after(other Place) bool {
	return p.Seq > other.Seq || p.Seq == other.Seq && p.Taken > other.Taken
}

// SincePart returns a part of what Since returns: the rows and tombstones that changed after a place and up to the action
// until, as they are now, in the order of their last changes within the part. The part has 4096 rows at most, and may have none
// although others follow: Reader.Place is where the next part begins, and Reader.AtEnd reports whether there is none. A caller
// may end a part early. Each part has a row once, and a row that changed again comes again in a later part. A row that was
// deleted and exists again comes as it is. Rows that changed after until are left out, unless so much has changed since that
// looking for them would take long (256 KiB of the log). If the log does not reach back to the place, the error is ErrForgotten.
func (r *Recorder) SincePart(t *Table, from Place, until Seq) (*Reader, error) {
	l := &r.log
	if err := l.forgotten(t, from.Seq); err != nil {
		return nil, err
	}
	p := newPart(t, from, until)
	if err := l.collect(p); err != nil {
		return nil, err
	}
	if err := l.leaveOut(p); err != nil {
		return nil, err
	}
	return &Reader{statements: &r.statements, table: t, rows: p.changed(), part: true, place: from, end: p.end, last: p.reached}, nil
}

// A part is what is read of the log for a SincePart.
type part struct {
	table   *Table
	from    Place
	until   Seq
	most    struct{ rows, bytes int } // its limits
	end     Place                     // after what has been looked at
	reached bool                      // nothing up to until is after end
	bytes   int

	at    Seq // of the entry that was looked at last
	taken int // how many entries of that seq were; those that from says among them

	rows []changedRow
	last map[string]int // where in rows a row's last change is
}

func newPart(t *Table, from Place, until Seq) *part {
	p := &part{table: t, from: from, until: until, end: from, at: from.Seq, last: make(map[string]int)}
	p.most.rows, p.most.bytes = partRows, partBytes
	return p
}

// changed returns the rows that were not left out, each once.
func (p *part) changed() []changedRow {
	return slices.DeleteFunc(p.rows, func(c changedRow) bool { return c.key == nil })
}

// collect goes through the log until the part is full.
func (l *log) collect(p *part) error {
	start, found, err := l.search(func(r logRow) bool { return r.last > p.from.Seq })
	if err != nil {
		return err
	}
	if found {
		var damaged error
		ended := false
		err := l.query("SELECT last, first, entries FROM _den_changes WHERE id >= ?1 ORDER BY id", func(r *sqlite.Row) bool {
			last, first, entries := Seq(r.Int(0)), Seq(r.Int(1)), r.Bytes(2)
			damaged = p.add(first, entries)
			ended = damaged != nil || p.full() || p.passed(last)
			if !ended {
				p.bytes += len(entries)
				ended = p.bytes >= p.most.bytes
			}
			return !ended
		}, start.id)
		if err == nil {
			err = damaged
		}
		if err != nil || ended {
			return err
		}
	}
	if err := p.add(l.entries.first, l.entries.bytes); err != nil || p.full() {
		return err
	}
	p.passed(p.until)
	return nil
}

// leaveOut removes the rows that changed after until, unless finding them would take long.
func (l *log) leaveOut(p *part) error {
	seq := Seq(l.seq.Load())
	if seq <= p.until || len(p.last) == 0 {
		return nil
	}
	later := newPart(p.table, Place{Seq: p.until}, seq)
	if err := l.collect(later); err != nil {
		return err
	}
	for name := range later.last {
		if i, there := p.last[name]; there && later.reached {
			p.rows[i].key = nil
		}
	}
	return nil
}

// passed notes that the log has been looked at up to an action, and reports whether that is all.
func (p *part) passed(seq Seq) bool {
	p.end, p.reached = Place{Seq: min(max(p.from.Seq, seq), p.until)}, seq >= p.until
	return p.reached
}

func (p *part) full() bool { return len(p.last) >= p.most.rows }

// add takes the table's entries of a row of the log that lie after from, until the part is full.
func (p *part) add(first Seq, entries []byte) error {
	return eachEntry(entries, p.table.id, func(e entry) {
		seq := first + Seq(e.offset)
		if seq <= p.from.Seq || seq > p.until || p.full() {
			return
		}
		if seq != p.at {
			p.at, p.taken = seq, 0
		}
		p.taken++
		place := Place{Seq: seq - 1, Taken: p.taken}
		if !place.after(p.from) {
			return
		}
		p.end = place
		p.put(e, place)
	})
}

func (p *part) put(e entry, place Place) {
	name := string(sqlite.Canonical(e.key))
	if before, there := p.last[name]; there {
		p.rows[before].key = nil
	}
	p.last[name] = len(p.rows)
	both := append(append(make([]byte, 0, len(e.key)+len(e.deleted)), e.key...), e.deleted...)
	p.rows = append(p.rows, changedRow{key: both[:len(e.key):len(e.key)], deleted: both[len(e.key):], place: place})
}
