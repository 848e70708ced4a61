package changes

// The change log: which rows of the tracked tables each action changed, in the order of the actions.
//
// An index of (table, key) → seq would have to be searched and written for every row of every action, in two trees. The log
// is only ever appended to, by one row for a whole transaction, and its older part is forgotten: a client that is further
// behind is better served with the whole table.

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/sqlite"
)

const (
	flushBytes = 64 << 10 // entries in memory, above which they are written before the transaction's end
	pruneRows  = 1024     // rows that are deleted at once, and actions by which the log may be too long
)

// A log is the table _den_changes, and what the open transaction adds to it.
type log struct {
	*statements
	tables *tables

	seq    atomic.Uint64 // of the newest action, the open transaction's too
	number uint64        // of the open transaction
	at     int64         // the time of the newest action
	oldest int64         // the time of the first row
	extent
	before extent // as it was before the open transaction

	// Entries of the open transaction that are not in the table yet, and as they were before the action in work.

	entries, was pending
	flushed      bool // the transaction has written a row
}

// An extent is what the table _den_changes covers.
type extent struct {
	floor       Seq   // everything up to here is forgotten
	first, last int64 // the ids of its rows, which are all from first to last; 0 and 0: there is none
	covered     Seq   // the last action of the last row
}

// pending are entries and the actions that they are of.
type pending struct {
	bytes       []byte
	first, last Seq
}

// reset forgets the entries that are not in the table.
func (l *log) reset() {
	bytes := l.entries.bytes
	if cap(bytes) > 4*flushBytes {
		bytes = nil
	}
	l.entries, l.was, l.flushed = pending{bytes: bytes[:0]}, pending{}, false
}

// add adds an entry; deleted is the stamp of a row that was deleted, NULL otherwise.
func (l *log) add(t *Table, key []byte, seq Seq, deleted []byte) {
	if bug.On("tombstones") && !isNull(deleted) {
		return
	}
	p := &l.entries
	if len(p.bytes) == 0 {
		p.first = seq
	}
	p.bytes = appendEntry(p.bytes, entry{t.id, uint64(seq - p.first), key, deleted})
	p.last = seq
}

// flush writes a row of the log. It is called outside of actions.
func (l *log) flush() error {
	p := &l.entries
	if len(p.bytes) == 0 {
		p.first = l.covered + 1
	}
	p.last = Seq(l.seq.Load())
	highs, err := l.appendHighs(nil)
	if err != nil {
		return err
	}
	s, err := l.prepare(`INSERT INTO _den_changes (id, number, at, first, last, highs, entries) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)`)
	if err != nil {
		return err
	}
	defer s.Release()
	s.Reserve(len(highs) + len(p.bytes) + 16)
	for i, v := range []int64{l.last + 1, int64(l.number), l.at, int64(p.first), int64(p.last)} {
		if err := s.BindInt64(i+1, v); err != nil {
			return err
		}
	}
	if err := s.BindRaw(6, sqlite.AppendBytes(nil, sqlite.Blob, highs)); err != nil { // in a loop they would be on the heap
		return err
	}
	if err := s.BindRaw(7, sqlite.AppendBytes(nil, sqlite.Blob, p.bytes)); err != nil {
		return err
	}
	l.conn.SetPreUpdateHook(nil)
	if _, err := s.Step(); err != nil {
		return err
	}
	l.last++
	l.first = max(l.first, 1)
	l.covered, l.flushed = p.last, true
	l.oldest = min(l.oldest, l.at)
	p.bytes = p.bytes[:0]
	return nil
}

// appendHighs appends the highest stamp of every table that has one.
func (l *log) appendHighs(dst []byte) ([]byte, error) {
	for _, t := range l.tables.sorted {
		if t.stale {
			continue // it starts again when it is declared
		}
		if err := l.loadHighest(t); err != nil {
			return nil, err
		}
		if len(t.highest.stamp) > 0 {
			dst = appendHighest(dst, t.id, t.highest.stamp)
		}
	}
	return dst, nil
}

// loadHighest reads a table's highest stamp if it is not known: from the newest row of the log, or, if that is older than
// the table's floor, from the table.
func (l *log) loadHighest(t *Table) error {
	if t.highest.known {
		return nil
	}
	var newest logRow
	if l.last > 0 {
		var err error
		if newest, err = l.row(l.last); err != nil {
			return err
		}
	}
	stamp, err := highestIn(newest.highs, t.id)
	if err != nil {
		return err
	}
	h := highest{next: slices.Clone(stamp)} // it never falls, also when the row that had it is gone
	if floor := max(l.floor, t.floor); floor > 0 && newest.last <= floor {
		if err := l.raiseToTable(t, &h); err != nil {
			return err
		}
	}
	t.highest.set(h.next)
	return nil
}

// raiseToTable takes all stamps of a table into h.
func (l *log) raiseToTable(t *Table, h *highest) error {
	up, del := sqlite.Quote(t.columns[t.updatedAt()]), sqlite.Quote(t.columns[t.deletedAt()])
	return l.each(fmt.Sprintf(`SELECT max(v) FROM (SELECT %s AS v FROM %s UNION ALL SELECT %s FROM %[2]s)
		WHERE typeof(v) IN ('integer', 'real', 'text')`, up, sqlite.Quote(t.name), del), func(r *sqlite.Row) { h.raise(r.Raw()) })
}

// A logRow is a row of the log, but for its entries.
type logRow struct {
	id          int64 // 0: it is not written yet
	first, last Seq
	highs       []byte
}

func (l *log) row(id int64) (r logRow, err error) {
	found := false
	err = l.each("SELECT first, last, highs FROM _den_changes WHERE id = ?1", func(c *sqlite.Row) {
		r, found = logRow{id, Seq(c.Int(0)), Seq(c.Int(1)), slices.Clone(c.Bytes(2))}, true
	}, id)
	if err == nil && !found {
		err = fmt.Errorf("%w: _den_changes has no row %d", ErrCorrupt, id)
	}
	return r, err
}

// search finds the first row of the log for which a property holds that all later ones have too. found is false if none has it.
func (l *log) search(has func(logRow) bool) (r logRow, found bool, err error) {
	if l.last == 0 {
		return logRow{}, false, nil
	}
	lo, hi := l.first, l.last
	for lo <= hi {
		mid := lo + (hi-lo)/2
		at, err := l.row(mid)
		if err != nil {
			return logRow{}, false, err
		}
		if has(at) {
			r, found, hi = at, true, mid-1
		} else {
			lo = mid + 1
		}
	}
	return r, found, nil
}

// prune forgets what lies more than keep actions back, or is older than a time in Unix milliseconds, some rows at a time. The
// newest row stays, because it has the seq and the number.
func (l *log) prune(keep Seq, cutoff int64) error {
	seq := Seq(l.seq.Load())
	if seq < l.floor+keep+pruneRows && l.oldest >= cutoff {
		return nil
	}
	from, floor := l.first, l.floor
	err := l.query("SELECT id, at, last FROM _den_changes WHERE id >= ?1 ORDER BY id LIMIT ?2", func(r *sqlite.Row) bool {
		id, at, last := r.Int(0), r.Int(1), Seq(r.Int(2))
		if id < l.last && (at < cutoff || last+keep <= seq) {
			from, floor = id+1, last
			return true
		}
		l.oldest = at
		return false
	}, l.first, pruneRows)
	if err != nil || from == l.first {
		return err
	}
	if err := l.exec("DELETE FROM _den_changes WHERE id < ?1", from); err != nil {
		return err
	}
	l.first, l.floor = from, floor
	return nil
}

func (l *log) rollback() {
	l.extent = l.before
	l.seq.Store(uint64(l.covered))
	l.reset()
}
