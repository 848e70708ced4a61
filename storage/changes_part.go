package storage

// Reading the change log in parts, for an answer that is too large to be read at once. What a reader must remember
// between two parts is a place, so a reader that is slow, or never comes back, holds nothing of the room.

import (
	"fmt"

	"github.com/denrooms/den/storage/sqlite"
)

const (
	// partKeys is how many rows one part gives at the most, and partBytes how many bytes of the log it looks through
	// before it ends at the next row of the log. Each of them takes some 2 ms.
	partKeys  = 4096
	partBytes = 256 << 10
)

// A ChangePlace is a place in the changes of one table: behind all of its changes up to Seq, and behind the first
// Taken of those that come after. The place {Seq: s} is where Since(s) begins.
type ChangePlace struct {
	Seq   Seq
	Taken int
}

// SincePart gives a part of what Since gives: the rows and tombstones that changed behind a place and up to the action
// until, as they are now, in the order of their last changes within the part. The part has 4096 rows at the most, and may
// have none although others follow: Rows.Place is where the next part begins, and Rows.AtEnd reports whether there is none. A
// reader may end a part early. Each part has a row once, and a row that changed again comes again in a later part. A
// row that was deleted and is there again comes as it is. Rows that changed after until are left out, unless so much has changed since that
// looking for them would take long (256 KiB of the log). Where the log does not reach back to the place it is ErrForgotten.
func (d *DB) SincePart(name string, from ChangePlace, until Seq) (*Rows, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	t := d.tables[name]
	if t == nil || !t.declared {
		return nil, fmt.Errorf("storage: %w: table %q is not synced", ErrMisuse, name)
	}
	if from.Seq < max(d.floor, t.floor) {
		return nil, fmt.Errorf("storage: table %q after %d: %w", name, from.Seq, ErrForgotten)
	}
	p := newChangesPart(t, from, until)
	err := d.collect(p)
	if err == nil {
		err = d.leaveOut(p)
	}
	if err != nil {
		return nil, err
	}
	r := &Rows{d: d, row: sqlite.NewRow(t.columns), open: true, acting: d.rec.on, table: t}
	r.changed, r.part = p.kept(), &partEnd{place: from, end: p.end, last: p.reached}
	d.results = append(d.results, r)
	return r, nil
}

// A changesPart is put together from the log.
type changesPart struct {
	t       *table
	from    ChangePlace
	until   Seq
	end     ChangePlace // behind what has been looked at
	reached bool        // nothing up to until is behind end
	bytes   int

	at    Seq // of the entry that was looked at last
	taken int // how many entries of that seq were; those that from says among them

	keys []changedKey
	last map[string]int // where in keys a row's last change is
	live int            // how many of keys are a row's last change
}

func newChangesPart(t *table, from ChangePlace, until Seq) *changesPart {
	return &changesPart{t: t, from: from, until: until, end: from, at: from.Seq, last: make(map[string]int)}
}

// collect goes through the log until the part is full.
func (d *DB) collect(p *changesPart) error {
	start, found, err := d.search(func(row logRow) bool { return row.last > p.from.Seq })
	if err != nil {
		return err
	}
	if found {
		rows, err := d.query(own, "SELECT first, last, entries FROM _den_changes WHERE id >= ?1 ORDER BY id", []any{start.id})
		if err != nil {
			return err
		}
		defer rows.finish()
		for rows.next() {
			if err := p.add(Seq(rows.Int(0)), rows.Bytes(2)); err != nil || p.full() || p.passed(Seq(rows.Int(1))) {
				return err
			}
			if p.bytes += len(rows.Bytes(2)); p.bytes >= partBytes {
				return nil
			}
		}
		if err := rows.failure(); err != nil {
			return err
		}
	}
	if err := p.add(d.log.first, d.log.entries); err != nil || p.full() {
		return err
	}
	p.passed(p.until)
	return nil
}

// passed notes that the log has been looked at up to an action, and reports whether that is all.
func (p *changesPart) passed(seq Seq) bool {
	p.end, p.reached = ChangePlace{Seq: min(max(p.from.Seq, seq), p.until)}, seq >= p.until
	return p.reached
}

// leaveOut takes the rows out that changed after until, if the log tells that soon.
func (d *DB) leaveOut(p *changesPart) error {
	if d.Seq() <= p.until || p.live == 0 {
		return nil
	}
	later := newChangesPart(p.t, ChangePlace{Seq: p.until}, d.Seq())
	if err := d.collect(later); err != nil {
		return err
	}
	for name := range later.last {
		if i, there := p.last[name]; there && later.reached {
			p.keys[i].key = nil
		}
	}
	return nil
}

func (p *changesPart) full() bool { return p.live >= partKeys }

// add takes the table's entries of a row of the log that lie behind from, until the part is full.
func (p *changesPart) add(first Seq, entries []byte) error {
	return eachEntry(entries, p.t.id, func(offset Seq, c changedKey) {
		seq := first + offset
		if seq <= p.from.Seq || seq > p.until || p.full() {
			return
		}
		if seq != p.at {
			p.at, p.taken = seq, 0
		}
		p.taken++
		place := ChangePlace{Seq: seq - 1, Taken: p.taken}
		if !place.behind(p.from) {
			return
		}
		p.end = place
		p.put(c, place)
	})
}

// behind reports whether a place lies behind another one.
func (p ChangePlace) behind(other ChangePlace) bool {
	return p.Seq > other.Seq || p.Seq == other.Seq && p.Taken > other.Taken
}

func (p *changesPart) put(c changedKey, place ChangePlace) {
	name := string(sameKey(c.key))
	if before, there := p.last[name]; there {
		p.keys[before].key = nil
	} else {
		p.live++
	}
	p.last[name] = len(p.keys)
	both := append(append(make([]byte, 0, len(c.key)+len(c.gone)), c.key...), c.gone...)
	p.keys = append(p.keys, changedKey{key: both[:len(c.key):len(c.key)], gone: both[len(c.key):], place: place})
}

// kept are the keys in the order of their last changes.
func (p *changesPart) kept() []changedKey {
	kept := p.keys[:0]
	for _, c := range p.keys {
		if c.key != nil {
			kept = append(kept, c)
		}
	}
	return kept
}

// A partEnd is how far the rows of a SincePart go.
type partEnd struct {
	place ChangePlace // behind the row that was given last
	end   ChangePlace // behind all that was looked at
	last  bool        // nothing lies behind end
	over  bool        // all rows were given
}

// nextOfPart goes to the next of a SincePart's rows.
func (r *Rows) nextOfPart() (bool, error) {
	for len(r.changed) > 0 {
		c := r.changed[0]
		r.changed, r.part.place = r.changed[1:], c.place
		found, err := r.current(c.key)
		if found || err != nil {
			return found, err
		}
		if Type(c.gone[0]) != Null {
			r.row.Set(r.table.tombstone(c.key, c.gone))
			return true, nil
		}
	}
	r.part.place, r.part.over = r.part.end, true
	return false, nil
}

// Place is where the part behind the rows of a SincePart begins that Next has given so far.
func (r *Rows) Place() ChangePlace { return r.part.place }

// AtEnd reports whether Next has given all rows of a SincePart, and no change lies behind them.
func (r *Rows) AtEnd() bool { return r.part.over && r.part.last }
