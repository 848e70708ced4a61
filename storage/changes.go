package storage

// The change log: which rows of the synced tables each action changed, in the
// order of the actions. Rows that come back to a client, Since, are found by it.
//
// An index of (table, key) → seq would have to be searched and written anew for
// every row of every action, in two trees. The log is only ever appended to, by one
// row for a whole batch, and its older part is forgotten: whoever is that far behind
// is better served with the table as it is.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/sqlite"
)

// ErrForgotten: the log does not reach back that far any more, or a change of the
// table's definition lies between. The table as it is, Live, is to replace what the
// client has.
var ErrForgotten = errors.New("the changes since then are forgotten")

const (
	flushBytes = 64 << 10 // entries in memory, above which they are written before the batch's end
	trimSteps  = 1024     // actions by which the log is cut at once
)

// changeLog collects what the open batch adds to the log.
//
//	entry: uvarint table id, uvarint seq - first, image of the key, image of gone_at
type changeLog struct {
	entries     []byte
	first, last Seq   // of the entries
	at          int64 // the time of the newest action
	written     bool  // the batch has written a row

	// As it was before the action in work.

	mark                int
	markFirst, markLast Seq
}

func (l *changeLog) enter() { l.mark, l.markFirst, l.markLast = len(l.entries), l.first, l.last }
func (l *changeLog) undo() {
	l.entries, l.first, l.last = l.entries[:l.mark], l.markFirst, l.markLast
}

func (l *changeLog) reset() {
	if cap(l.entries) > 4*flushBytes {
		l.entries = nil
	}
	*l = changeLog{entries: l.entries[:0]}
}

// logChange adds an entry: gone is the stamp of a row that was deleted, NULL otherwise.
func (d *DB) logChange(t *table, key []byte, seq Seq, gone []byte) {
	l := &d.log
	if bug.On("tombstones") && Type(gone[0]) != Null {
		return
	}
	if len(l.entries) == 0 {
		l.first = seq
	}
	l.entries = binary.AppendUvarint(l.entries, uint64(t.id))
	l.entries = binary.AppendUvarint(l.entries, uint64(seq-l.first))
	l.entries = append(append(l.entries, key...), gone...)
	l.last = seq
}

// flush writes a row of the log. It is called outside of actions.
func (d *DB) flush() error {
	l := &d.log
	if len(l.entries) == 0 {
		l.first = d.covered + 1
	}
	l.last = d.Seq()
	d.recordChanges(false)
	highs, err := d.appendHighs(nil)
	if err != nil {
		return err
	}
	s, err := d.ready(d.tx.put)
	if err != nil {
		return err
	}
	s.Reserve(len(highs) + len(l.entries) + 16)
	for i, v := range []int64{d.ids.last + 1, int64(d.number + 1), l.at, int64(l.first), int64(l.last)} {
		if err := s.BindInt64(i+1, v); err != nil {
			return failed(err)
		}
	}
	if err := s.BindRaw(6, sqlite.AppendBytes(nil, Blob, highs)); err != nil {
		return failed(err)
	}
	if err := s.BindRaw(7, sqlite.AppendBytes(nil, Blob, l.entries)); err != nil {
		return failed(err)
	}
	if err := d.do(d.tx.put); err != nil {
		return err
	}
	d.ids.last++
	d.ids.first = max(d.ids.first, 1)
	d.covered, l.written = l.last, true
	d.oldest = min(d.oldest, l.at)
	l.entries = l.entries[:0]
	return nil
}

// appendHighs appends the running maximum of every table that has one.
//
//	highs: (uvarint table id, image) for each table
func (d *DB) appendHighs(dst []byte) ([]byte, error) {
	for _, t := range d.sorted() {
		if t.stale {
			continue // it begins anew when it is synced again
		}
		if err := d.loadHigh(t); err != nil {
			return nil, err
		}
		if len(t.high) > 0 {
			dst = append(binary.AppendUvarint(dst, uint64(t.id)), t.high...)
		}
	}
	return dst, nil
}

// highIn finds a table's maximum among those of a row of the log; nil: none.
func highIn(highs []byte, id int64) ([]byte, error) {
	for len(highs) > 0 {
		table, n := binary.Uvarint(highs)
		image, rest, ok := sqlite.Cut(highs[max(n, 0):])
		if n <= 0 || !ok {
			return nil, fmt.Errorf("%w: the stamps of a row of _den_changes", ErrCorrupt)
		}
		if int64(table) == id {
			return image, nil
		}
		highs = rest
	}
	return nil, nil
}

// logRows are the ids of the log's rows: all from first to last, 0 and 0 for none.
type logRows struct{ first, last int64 }

// logRow is a row of the log.
type logRow struct {
	id          int64
	first, last Seq
	highs       []byte
}

func (d *DB) logRow(id int64) (row logRow, err error) {
	err = ErrCorrupt // if it is not there
	failed := d.each("SELECT first, last, highs FROM _den_changes WHERE id = ?1", func(r *Rows) {
		row, err = logRow{id, Seq(r.Int(0)), Seq(r.Int(1)), slices.Clone(r.Bytes(2))}, nil
	}, id)
	if failed != nil {
		err = failed
	}
	return row, err
}

// search finds the first row of the log for which a property holds that all later ones
// have too; found is false where none has it.
func (d *DB) search(has func(logRow) bool) (row logRow, found bool, err error) {
	if d.ids.last == 0 {
		return logRow{}, false, nil
	}
	lo, hi := d.ids.first, d.ids.last
	for lo <= hi {
		mid := lo + (hi-lo)/2
		at, err := d.logRow(mid)
		if err != nil {
			return logRow{}, false, err
		}
		if has(at) {
			row, found, hi = at, true, mid-1
		} else {
			lo = mid + 1
		}
	}
	return row, found, nil
}

// A changedKey is the last change of a row.
type changedKey struct {
	key, gone []byte      // images; gone is NULL where the row is there
	place     ChangePlace // behind the change, in a part
}

// eachEntry calls do for each of a log row's entries of one table: with the seq as it is
// counted from the row's first, and a key that is valid during the call.
func eachEntry(entries []byte, table int64, do func(offset Seq, c changedKey)) error {
	for len(entries) > 0 {
		id, n := binary.Uvarint(entries)
		offset, m := binary.Uvarint(entries[max(n, 0):])
		key, rest, keyOK := sqlite.Cut(entries[max(n, 0)+max(m, 0):])
		gone, rest, goneOK := sqlite.Cut(rest)
		if n <= 0 || m <= 0 || !keyOK || !goneOK {
			return fmt.Errorf("%w: the entries of a row of _den_changes", ErrCorrupt)
		}
		entries = rest
		if int64(id) == table {
			do(Seq(offset), changedKey{key: key, gone: gone})
		}
	}
	return nil
}

// changedSince gives the rows of a table that changed after seq, each once, in the
// order of their last changes.
func (d *DB) changedSince(t *table, seq Seq) ([]changedKey, error) {
	var list []changedKey
	place := make(map[string]int)
	var damaged error
	add := func(first Seq, entries []byte) {
		damaged = cmp.Or(damaged, eachEntry(entries, t.id, func(offset Seq, c changedKey) {
			if first+offset <= seq {
				return
			}
			name := string(sameKey(c.key))
			if at, there := place[name]; there {
				list[at].key = nil
			}
			place[name] = len(list)
			list = append(list, changedKey{key: slices.Clone(c.key), gone: slices.Clone(c.gone)})
		}))
	}
	start, found, err := d.search(func(row logRow) bool { return row.last > seq })
	if err == nil && found {
		err = d.each("SELECT first, entries FROM _den_changes WHERE id >= ?1 ORDER BY id",
			func(r *Rows) { add(Seq(r.Int(0)), r.Bytes(1)) }, start.id)
	}
	if err != nil {
		return nil, err
	}
	add(d.log.first, d.log.entries)
	if damaged != nil {
		return nil, damaged
	}
	return slices.DeleteFunc(list, func(c changedKey) bool { return c.key == nil }), nil
}

// sameKey gives keys that SQLite takes for the same one bytes: 1 and 1.0.
func sameKey(key []byte) []byte {
	if Type(key[0]) == Float {
		if f := sqlite.Float64(key); f == math.Trunc(f) && math.Abs(f) < 1<<63 {
			return sqlite.AppendInt64(nil, int64(f))
		}
	}
	return key
}

// Since gives the rows and tombstones of a declared table that changed after
// seq, in the order of their last change, as they are now. A row that was deleted
// comes as the tombstone that Commit had for it, and one with deleted_at set without its
// content (Row). Where the log does not reach back
// to seq it is ErrForgotten.
func (d *DB) Since(name string, seq Seq) (*Rows, error) {
	if err := d.lock(); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	t := d.tables[name]
	if t == nil || !t.declared {
		return nil, fmt.Errorf("storage: %w: table %q is not synced", ErrMisuse, name)
	}
	if seq < max(d.floor, t.floor) && !bug.On("floor") {
		return nil, fmt.Errorf("storage: table %q after %d: %w", name, seq, ErrForgotten)
	}
	changed, err := d.changedSince(t, seq)
	if err != nil {
		return nil, err
	}
	r := &Rows{d: d, row: sqlite.NewRow(t.columns), open: true, acting: d.rec.on, table: t, changed: changed}
	d.results = append(d.results, r)
	return r, nil
}

// nextChanged goes to the next of a Since's rows.
func (r *Rows) nextChanged() (bool, error) {
	if r.part != nil {
		return r.nextOfPart()
	}
	for len(r.changed) > 0 {
		c := r.changed[0]
		r.changed = r.changed[1:]
		if Type(c.gone[0]) != Null {
			r.row.Set(r.table.tombstone(c.key, c.gone))
			return true, nil
		}
		found, err := r.current(c.key)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// current reads the row with a key as it is now.
func (r *Rows) current(key []byte) (bool, error) {
	d := r.d
	s, err := d.rowStatement(r.table)
	if err != nil {
		return false, err
	}
	defer s.Release()
	s.Reserve(len(key))
	if err := s.BindRaw(1, key); err != nil {
		return false, failed(err)
	}
	found, err := d.step(s)
	if !found || err != nil {
		return false, err
	}
	r.row.Read(s.Stmt)
	if raw := r.row.Raw(); r.table.deleted(raw) {
		r.row.Set(r.table.public(raw))
	}
	return true, nil
}

// SeqAt answers for a client that knows no seq but the highest updated_at or
// deleted_at that it has seen: Since(seq) then holds everything it may lack, and
// maybe some that it has. known is false where that cannot be told: for a stamp that the
// table's rows cannot be seen to have had (it may be of another room), for none at all
// (nil), and for one that lies so far back that the log has forgotten it. Such a client is
// to get everything.
//
// Stamps may repeat, fall, and be texts: the log holds the running maximum of
// what was sent, which does none of that. A client whose highest stamp is s has
// seen at least the first commit at which the maximum reached s.
func (d *DB) SeqAt(name string, stamp Value) (seq Seq, known bool) {
	if err := d.lock(); err != nil {
		return 0, false
	}
	defer d.mu.Unlock()
	t := d.tables[name]
	if t == nil || !t.declared || stamp == nil || d.loadHigh(t) != nil {
		return 0, false
	}
	want := sqlite.AppendValue(nil, stamp)
	if len(t.high) == 0 || Type(want[0]) == Null || sqlite.Compare(t.high, want) < 0 {
		return 0, false
	}
	row, oldest, err := d.firstReaching(t, want)
	floor := max(d.floor, t.floor)
	if err != nil || row.first == 0 || row.first-1 < floor || oldest && floor > 0 {
		return 0, false
	}
	if given, err := d.given(t, row, want); !given || err != nil {
		return 0, false
	}
	return row.first - 1, true
}

// firstReaching searches the first row of the log at which a table's maximum reaches
// want, and tells whether it is the oldest that there is. What the open batch has not
// written yet comes last.
func (d *DB) firstReaching(t *table, want []byte) (found logRow, oldest bool, err error) {
	var damaged error
	found, there, err := d.search(func(row logRow) bool {
		high, err := highIn(row.highs, t.id)
		damaged = cmp.Or(damaged, err)
		return high != nil && sqlite.Compare(high, want) >= 0
	})
	if err = cmp.Or(err, damaged); err != nil {
		return logRow{}, false, err
	}
	if !there && len(d.log.entries) > 0 {
		found = logRow{first: d.log.first, last: d.log.last} // id 0: it is not written yet
	}
	return found, there && found.id == d.ids.first, nil
}

// trim forgets what lies more than Options.History actions or Options.Retention back, some
// rows at a time. The newest row stays: it has the room's seq and number.
func (b *Batch) trim() error {
	d := b.d
	keep, cutoff := Seq(d.o.History), d.log.at-d.o.Retention.Milliseconds()
	if d.Seq() < d.floor+keep+trimSteps && d.oldest >= cutoff {
		return nil
	}
	from, floor := d.ids.first, d.floor
	stays := false
	rows, err := d.query(own, "SELECT id, at, last FROM _den_changes WHERE id >= ?1 ORDER BY id LIMIT ?2", []any{d.ids.first, trimSteps})
	if err != nil {
		return err
	}
	defer rows.finish()
	for !stays && rows.next() {
		id, at, last := rows.Int(0), rows.Int(1), Seq(rows.Int(2))
		if id < d.ids.last && (at < cutoff || last+keep <= d.Seq()) {
			from, floor = id+1, last
		} else {
			stays, d.oldest = true, at
		}
	}
	rows.finish()
	if err := rows.failure(); err != nil || from == d.ids.first {
		return err
	}
	if _, err := d.exec(own, "DELETE FROM _den_changes WHERE id < ?1", []any{from}); err != nil {
		return err
	}
	d.ids.first, b.floor = from, floor
	_, err = d.exec(own, "UPDATE _den_meta SET value = ?1 WHERE name = 'floor'", []any{int64(floor)})
	return err
}
