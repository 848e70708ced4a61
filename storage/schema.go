package storage

// Changes of the schema: by Sync, and by a handler's own CREATE, ALTER, DROP.

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// schemaChanged drops what was prepared for the schema before.
func (d *DB) schemaChanged() {
	version := int64(-1)
	err := d.each("PRAGMA schema_version", func(r *Rows) { version = r.Int(0) })
	if err == nil && version == d.schemaVersion {
		return // CREATE … IF NOT EXISTS
	}
	d.schemaVersion = version
	d.schemaDirty = true
	d.caches[handler].Clear()
	d.caches[peer].Clear()
	for _, t := range d.tables {
		d.forget(t)
	}
}

// adopt takes up tables that were not synced so far, in a commit of their own.
func (d *DB) adopt(tables []*table) error {
	if err := d.do(d.tx.begin); err != nil {
		return err
	}
	b := d.newBatch()
	b.wrote = true
	seq, anything := d.Seq()+1, false
	for _, t := range tables {
		some, err := d.enlist(t, seq)
		if err != nil {
			b.abort()
			d.batch = nil
			d.restore(b)
			return err
		}
		anything = anything || some
	}
	if anything {
		d.seq.Store(uint64(seq))
	}
	old := maps.Clone(d.tables)
	for _, t := range tables {
		d.tables[t.name] = t
	}
	d.noteDefinitions()
	d.keepHighs()
	d.last = nil
	if err := b.commit(); err != nil {
		d.tables = old
		return err
	}
	for _, t := range tables {
		if was := old[t.name]; was != nil {
			d.forget(was)
		}
		t.known, t.raised = false, false
	}
	return nil
}

// enlist writes a table into _den_tables and its rows into the change log.
func (d *DB) enlist(t *table, seq Seq) (changed bool, err error) {
	err = d.each(`INSERT INTO _den_tables (name, stale, floor) VALUES (?1, 0, 0)
		ON CONFLICT (name) DO UPDATE SET stale = 0 RETURNING id`, func(r *Rows) { t.id = r.Int(0) }, t.name)
	if err != nil {
		return false, err
	}
	return d.rebase(t, seq)
}

// rebase has a table's part of the log begin anew at seq: whoever has seen less gets
// all of it. It tells whether there is anything to get.
func (d *DB) rebase(t *table, seq Seq) (changed bool, err error) {
	err = d.each("SELECT EXISTS (SELECT 1 FROM "+quote(t.name)+")", func(r *Rows) { changed = r.Int(0) != 0 })
	if known := d.tables[t.name] != nil; err != nil || !changed && !known {
		return false, err // nobody has rows of a table that is new and empty
	}
	if err := d.loadHigh(t); err != nil {
		return false, err
	}
	if err := d.raiseToTable(t); err != nil {
		return false, err
	}
	t.floor = seq
	_, err = d.exec(own, "UPDATE _den_tables SET floor = ?2 WHERE id = ?1", []any{t.id, int64(seq)})
	return true, err
}

// redefine looks at the tables again behind an action that changed the schema.
// A declared one must stay fit; one that is not declared is given up for now.
func (b *Batch) redefine() (rebased []string, err error) {
	d := b.d
	for _, t := range d.sorted() {
		if t.stale {
			continue
		}
		now, err := d.describe(t.name)
		switch {
		case errors.Is(err, ErrSchema) && !t.declared:
			if err := d.giveUp(t); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		case now.sql == t.sql && (now.root == t.root || t.root == 0) && !d.redefined(t.name):
			t.root = now.root
			continue
		}
		t.columns, t.virtual, t.sql, t.root, t.nullable = now.columns, now.virtual, now.sql, now.root, now.nullable
		t.rowid = now.rowid
		t.rebased = true
		some, err := d.rebase(t, d.Seq()+1)
		if err != nil {
			return nil, err
		}
		d.rec.unsynced = d.rec.unsynced || some
		if t.declared {
			rebased = append(rebased, t.name)
		}
	}
	return rebased, nil
}

func (d *DB) redefined(name string) bool {
	return slices.ContainsFunc(d.redefining, func(n string) bool { return strings.EqualFold(n, name) })
}

// giveUp stops following a table until Sync is called for it again.
func (d *DB) giveUp(t *table) error {
	t.stale = true
	d.last = nil
	_, err := d.exec(own, "UPDATE _den_tables SET stale = 1 WHERE id = ?1", []any{t.id})
	return err
}

// sorted gives the tables by name, so that work is done in the same order always.
func (d *DB) sorted() []*table {
	out := make([]*table, 0, len(d.tables))
	for _, t := range d.tables {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *table) int { return strings.Compare(a.name, b.name) })
	return out
}

// startOver is reload after a schema change was rolled back: statements were compiled for it.
func (d *DB) startOver() error {
	d.caches[handler].Clear()
	d.caches[peer].Clear()
	return d.reload()
}

// reload reads all tables' definitions. What was declared stays so.
func (d *DB) reload() error {
	old := d.tables
	d.tables, d.last = make(map[string]*table), nil
	for _, t := range old { // now: what follows may fail, and a statement that is left over keeps the file open
		d.forget(t)
	}
	var found []*table
	err := d.each("SELECT id, name, stale, floor FROM _den_tables", func(r *Rows) {
		found = append(found, &table{id: r.Int(0), name: string(r.Bytes(1)), stale: r.Int(2) != 0, floor: Seq(r.Int(3))})
	})
	if err != nil {
		return err
	}
	if err := d.readSchemaVersion(); err != nil {
		return err
	}
	known, news := d.definitions(), false
	var unfit []*table
	for _, f := range found {
		if known := known[f.name]; known != nil && !f.stale {
			d.take(&table{id: f.id, name: f.name, floor: f.floor, columns: known.columns, virtual: known.virtual, sql: known.sql,
				nullable: known.nullable, rowid: known.rowid}, old[f.name])
			continue
		}
		t, err := d.describe(f.name)
		news = news || err == nil
		if errors.Is(err, ErrSchema) {
			t, err = &table{name: f.name, stale: true}, nil
			if !f.stale {
				unfit = append(unfit, f)
			}
		}
		if err != nil {
			return err
		}
		t.id, t.floor, t.stale = f.id, f.floor, t.stale || f.stale
		d.take(t, old[f.name])
	}
	for _, t := range unfit { // now that all are known: the transaction writes the highest stamp of each
		if err := d.alone(func() error { return d.giveUp(t) }); err != nil {
			return err
		}
	}
	if news {
		d.noteDefinitions()
	}
	return nil
}

func (d *DB) readSchemaVersion() error {
	if h := d.header; h != nil {
		d.schemaVersion, d.header = h.changes, nil
		return nil
	}
	return d.each("PRAGMA schema_version", func(r *Rows) { d.schemaVersion = r.Int(0) })
}

// take puts a table in the place of what it was before.
func (d *DB) take(t, was *table) {
	if was != nil {
		t.declared = was.declared
		t.high, t.next, t.known = was.high, was.next, was.known
	}
	d.tables[t.name] = t
}
