package storage

// Notes in _den_meta: what one use of the file has found out, so that the next use need not find it out again. A note costs no
// transaction of its own. It is written with the next batch that writes.

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/internal/session"
)

// The notes' names in _den_meta.
const (
	notePrepared = "prepared" // the schema's version and the fingerprint that Prepare was given
	noteTables   = "tables"   // the schema's version and the digest of the synced tables' definitions
	noteTended   = "tended"   // see NoteMaintenance
	noteAlarm    = "alarm"    // see NoteAlarm
)

// notes are those of an open file.
type notes struct {
	sql     *session.Session
	pool    *Pool            // may be nil
	stored  map[string]Value // what the file says
	due     map[string]Value // to be written
	batch   map[string]Value // to be written by the open batch, or not at all
	written map[string]Value // by the open batch
}

func (n *notes) put(name string, v Value) {
	if n.stored[name] == v {
		delete(n.due, name)
		return
	}
	if n.due == nil {
		n.due = make(map[string]Value)
	}
	n.due[name] = v
}

// all returns the notes that the file has once those are written that are due.
func (n *notes) all() map[string]Value {
	all := make(map[string]Value, len(n.stored)+len(n.due))
	maps.Copy(all, n.stored)
	maps.Copy(all, n.due)
	return all
}

// write writes what is due into the open batch.
func (n *notes) write() error {
	for _, some := range []map[string]Value{n.due, n.batch} {
		for _, name := range slices.Sorted(maps.Keys(some)) {
			if err := putMeta(n.sql, name, some[name]); err != nil {
				return err
			}
		}
	}
	n.written, n.due = n.due, nil
	return nil
}

// putMeta writes a row of _den_meta.
func putMeta(ses *session.Session, name string, v Value) error {
	_, err := ses.Exec(session.Own, `INSERT INTO _den_meta (name, value) VALUES (?1, ?2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, []any{name, v})
	return err
}

// committed notes that the batch with the written notes was committed.
func (n *notes) committed() {
	if n.stored == nil {
		n.stored = make(map[string]Value)
	}
	maps.Copy(n.stored, n.written)
	maps.Copy(n.stored, n.batch)
	n.written, n.batch = nil, nil
}

// rolledBack has the written notes written again, except the batch's own.
func (n *notes) rolledBack() {
	for name, v := range n.written {
		if _, newer := n.due[name]; !newer {
			n.put(name, v)
		}
	}
	n.written, n.batch = nil, nil
}

// Prepared reports whether Prepare was called with this fingerprint, now or in an earlier use of the file, and the schema has not
// changed since.
func (d *DB) Prepared(fingerprint string) bool {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	return d.notes.stored[notePrepared] == d.notes.versioned(fingerprint)
}

// Prepare notes that the file's schema fits what a program wants. fingerprint names what it wants, without spaces.
func (d *DB) Prepare(fingerprint string) {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	d.notes.put(notePrepared, d.notes.versioned(fingerprint))
}

// LastMaintenance returns the time of the last NoteMaintenance, or 0.
func (d *DB) LastMaintenance() int64 {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	at, _ := d.notes.stored[noteTended].(int64)
	return at
}

// NoteMaintenance notes when the room's maintenance was done, in Unix milliseconds.
func (d *DB) NoteMaintenance(at int64) {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	d.notes.put(noteTended, at)
}

// Alarm returns the time of the last NoteAlarm; noted is false if there was none.
func (d *DB) Alarm() (at int64, noted bool) {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	at, noted = d.notes.stored[noteAlarm].(int64)
	return at, noted
}

// NoteAlarm notes when the next of the room's alarms is due, in Unix milliseconds. While a batch is open the note is a part of the
// batch, as the alarms are, and is undone with it.
func (d *DB) NoteAlarm(at int64) {
	d.sql.Mu.Lock()
	defer d.sql.Mu.Unlock()
	n := &d.notes
	if _, due := n.due[noteAlarm]; !due && n.stored[noteAlarm] == at {
		return
	}
	if d.batch == nil {
		n.put(noteAlarm, at)
		return
	}
	n.batch = map[string]Value{noteAlarm: at}
	d.batch.wrote = true
}

// versioned is a note that holds as long as the schema does not change.
func (n *notes) versioned(text string) string { return fmt.Sprintf("%d %s", n.sql.SchemaVersion, text) }

// definitions are those of the tables that the file has noted; nil: not known.
func (n *notes) definitions() changes.Definitions {
	note, _ := n.stored[noteTables].(string)
	version, digest, _ := strings.Cut(note, " ")
	if n.pool == nil || version != fmt.Sprint(n.sql.SchemaVersion) {
		return nil
	}
	return n.pool.tables.get(digest)
}

// noteDefinitions notes the definitions of the tables that are followed.
func (n *notes) noteDefinitions() {
	if n.pool != nil {
		tables, digest := n.sql.Changes.Definitions()
		n.put(noteTables, n.versioned(digest))
		n.pool.tables.put(digest, tables)
	}
}
