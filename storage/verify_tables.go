package storage

// Den's own tables in a room's file: the form and the range of each value, and how they go together.
// What is compared stands in the package's doc.

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/denrooms/den/storage/sqlite"
)

// tables checks _den_meta, _den_tables and _den_changes. The DB's mutex is held.
func (v *Verifier) tables(d *DB, what Finding) error {
	complain := func(format string, args ...any) {
		v.problem(what, "%w: "+format, append([]any{ErrCorrupt}, args...)...)
	}
	meta, err := d.checkMeta(complain)
	if err != nil {
		return err
	}
	tables, err := d.checkTables(complain)
	if err != nil {
		return err
	}
	return d.checkChanges(meta, tables, complain)
}

// complaint tells of something that is not as it should be.
type complaint func(format string, args ...any)

// metaForms are the types of what _den_meta holds, and whether it must be there.
var metaForms = map[string]struct {
	of       Type
	required bool
}{
	"namespace": {Text, true}, "room": {Text, true}, "epoch": {Text, true}, "floor": {Integer, true}, "created_at": {Integer, true},
	"log": {Text, true}, "clean": {Integer, true}, epochSum: {Integer, false},
	notePrepared: {Text, false}, noteTables: {Text, false}, noteTended: {Integer, false}, noteAlarm: {Integer, false},
	"layout": {Integer, false},
}

// checkMeta gives the rows of _den_meta that have the right type.
func (d *DB) checkMeta(complain complaint) (map[string]Value, error) {
	meta := make(map[string]Value)
	err := d.each("SELECT name, value FROM _den_meta", func(r *Rows) {
		name := fmt.Sprint(r.Value(0))
		form, known := metaForms[name]
		switch {
		case !known:
			complain("_den_meta has a row %q", name)
		case r.Type(1) != form.of:
			complain("_den_meta: %s is %v, where Den writes %v", name, r.Type(1), form.of)
		default:
			meta[name] = r.Value(1)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(metaForms) {
		if _, there := meta[name]; !there && metaForms[name].required {
			complain("_den_meta has no %s that can be read", name)
		}
	}
	if floor, is := meta["floor"].(int64); is && floor < 0 {
		complain("_den_meta: the floor is %d", floor)
	}
	if log := d.o.Log; log != nil && meta["log"] == log.ID() {
		number, _ := meta["clean"].(int64)
		if m := markOf(log.ID(), number); max(m.clean, m.since) > log.Generation() {
			complain("_den_meta: the file was used in generation %d of the log, which has come to %d", max(m.clean, m.since), log.Generation())
		}
	}
	return meta, nil
}

// checkTables gives the tables of _den_tables by their ids.
func (d *DB) checkTables(complain complaint) (map[int64]*table, error) {
	tables := make(map[int64]*table)
	err := d.each("SELECT id, name, stale, floor FROM _den_tables", func(r *Rows) {
		if err := r.Expect(Integer, Text, Integer, Integer); err != nil {
			complain("_den_tables, row %v: %w", r.Value(0), err)
			return
		}
		t := &table{id: r.Int(0), name: string(r.Bytes(1)), stale: r.Int(2) != 0, floor: Seq(r.Int(3))}
		switch {
		case r.Int(2) != 0 && r.Int(2) != 1:
			complain("_den_tables: stale of %q is %d", t.name, r.Int(2))
		case r.Int(3) < 0 || t.floor > d.Seq():
			complain("_den_tables: the floor of %q is %d, the room's seq is %d", t.name, r.Int(3), d.Seq())
		}
		tables[t.id] = t
	})
	return tables, err
}

// changeRow is a row of _den_changes that has the right types.
type changeRow struct {
	id, number, at, first, last int64
	highs, entries              []byte
}

// checkChanges checks the change log: its rows follow each other without a gap, and lead to the room's
// seq and number.
func (d *DB) checkChanges(meta map[string]Value, tables map[int64]*table, complain complaint) error {
	var before *changeRow
	var highs map[int64][]byte
	known := func(id int64) bool { return tables[id] != nil }
	err := d.each("SELECT id, number, at, first, last, highs, entries FROM _den_changes ORDER BY id", func(r *Rows) {
		if err := r.Expect(Integer, Integer, Integer, Integer, Integer, Blob, Blob); err != nil {
			complain("_den_changes, row %v: %w", r.Value(0), err)
			before = nil
			return
		}
		row := &changeRow{r.Int(0), r.Int(1), r.Int(2), r.Int(3), r.Int(4), r.Bytes(5), r.Bytes(6)}
		row.checkOrder(before, complain)
		row.checkEntries(known, complain)
		highs = row.checkHighs(known, highs, complain)
		row.highs, row.entries = nil, nil
		before = row
	})
	if err != nil || before == nil {
		return err
	}
	if Seq(before.last) != d.Seq() || uint64(before.number) != d.number {
		complain("_den_changes ends with seq %d and transaction %d, the room is at %d and %d", before.last, before.number, d.Seq(), d.number)
	}
	if floor, is := meta["floor"].(int64); is && floor > before.last {
		complain("_den_meta: the floor is %d, the room's seq is %d", floor, before.last)
	}
	return d.checkFloor(meta, complain)
}

// checkFloor compares the floor with where the change log begins.
func (d *DB) checkFloor(meta map[string]Value, complain complaint) error {
	floor, is := meta["floor"].(int64)
	return d.each("SELECT first FROM _den_changes ORDER BY id LIMIT 1", func(r *Rows) {
		if r.Type(0) == Integer && is && r.Int(0) != floor+1 {
			complain("_den_changes begins with action %d, the floor is %d", r.Int(0), floor)
		}
	})
}

// checkOrder compares a row with the one before it, nil where that is not known.
func (c *changeRow) checkOrder(before *changeRow, complain complaint) {
	if c.number < 1 || c.first < 1 || c.last < c.first-1 {
		complain("_den_changes: row %d is transaction %d, actions %d to %d", c.id, c.number, c.first, c.last)
	}
	switch {
	case before == nil:
	case c.id != before.id+1:
		complain("_den_changes: row %d follows row %d", c.id, before.id)
	case c.first != before.last+1:
		complain("_den_changes: row %d begins with action %d, the one before ends with %d", c.id, c.first, before.last)
	case c.number != before.number && c.number != before.number+1:
		complain("_den_changes: row %d is transaction %d, the one before %d", c.id, c.number, before.number)
	}
}

// checkEntries takes the entries apart.
func (c *changeRow) checkEntries(known func(int64) bool, complain complaint) {
	offset := uint64(0)
	for rest := c.entries; len(rest) > 0; {
		id, n := binary.Uvarint(rest)
		next, m := binary.Uvarint(rest[max(n, 0):])
		if n <= 0 || m <= 0 {
			complain("_den_changes: the entries of row %d cannot be read", c.id)
			return
		}
		rest = rest[n+m:]
		key, gone := wholeImage(rest), 0
		if key > 0 {
			gone = wholeImage(rest[key:])
		}
		if key == 0 || gone == 0 {
			complain("_den_changes: an image in the entries of row %d cannot be read", c.id)
			return
		}
		stamp := Type(rest[key])
		switch {
		case id > math.MaxInt64 || !known(int64(id)):
			complain("_den_changes: row %d has an entry of table %d, which is not in _den_tables", c.id, id)
		case next < offset || next > uint64(max(c.last-c.first, 0)):
			complain("_den_changes: row %d, actions %d to %d, has an entry of action %d+%d", c.id, c.first, c.last, c.first, next)
		case stamp != Null && stamp != Integer && stamp != Text:
			complain("_den_changes: row %d has a tombstone whose stamp is of type %d", c.id, stamp)
		}
		offset, rest = next, rest[key+gone:]
	}
}

// checkHighs takes the maxima apart, and gives them by the tables' ids. None is below what the row before
// has of its table.
func (c *changeRow) checkHighs(known func(int64) bool, before map[int64][]byte, complain complaint) map[int64][]byte {
	highs := make(map[int64][]byte)
	for rest := c.highs; len(rest) > 0; {
		id, n := binary.Uvarint(rest)
		image := 0
		if n > 0 {
			image = wholeImage(rest[n:])
		}
		if image == 0 || id > math.MaxInt64 {
			complain("_den_changes: the maxima of row %d cannot be read", c.id)
			return nil
		}
		high := rest[n : n+image]
		rest = rest[n+image:]
		if !known(int64(id)) {
			complain("_den_changes: row %d has a maximum of table %d, which is not in _den_tables", c.id, id)
		}
		if low := before[int64(id)]; low != nil && sqlite.Compare(high, low) < 0 {
			complain("_den_changes: the maximum of table %d falls at row %d", id, c.id)
		}
		highs[int64(id)] = slices.Clone(high)
	}
	return highs
}

// wholeImage is the length of the value that b starts with, 0 if b does not hold all of one.
func wholeImage(b []byte) int {
	if len(b) == 0 || Type(b[0]) > Blob {
		return 0
	}
	if t := Type(b[0]); (t == Text || t == Blob) && len(b) < 5 {
		return 0
	}
	if n := sqlite.Size(b); n <= len(b) {
		return n
	}
	return 0
}
