package storage

// Den's own tables in a room's file: the form and the range of each value, and how they go together.
// What is compared stands in the package's doc.

import (
	"fmt"

	"github.com/denrooms/den/storage/changes"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/roomfile"
)

// tables checks _den_meta, _den_tables and _den_changes. The session's mutex is held.
func (v *Verifier) tables(d *DB, what Finding) error {
	complain := func(format string, args ...any) {
		v.problem(what, "%w: "+format, append([]any{ErrCorrupt}, args...)...)
	}
	meta, err := checkMeta(&d.sql, d.o.Log, complain)
	if err != nil {
		return err
	}
	return d.sql.Recorded(d.sql.Changes.Verify(d.store.number, meta["floor"], complain))
}

// metaForms are the types of what _den_meta holds, and whether it must be there.
var metaForms = map[string]struct {
	of       Type
	required bool
}{
	"namespace": {Text, true}, "room": {Text, true}, "epoch": {Text, true}, "floor": {Integer, true}, "created_at": {Integer, true},
	"log": {Text, true}, "clean": {Integer, true}, roomfile.EpochSum: {Integer, false},
	notePrepared: {Text, false}, noteTables: {Text, false}, noteTended: {Integer, false}, noteAlarm: {Integer, false},
	"layout": {Integer, false},
}

// checkMeta returns the rows of _den_meta that have the right type.
func checkMeta(ses *session.Session, log Log, complain changes.Complaint) (map[string]Value, error) {
	meta := make(map[string]Value)
	err := ses.Each("SELECT name, value FROM _den_meta", func(r *Rows) {
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
	if log != nil && meta["log"] == log.ID() {
		number, _ := meta["clean"].(int64)
		if m := nodelog.MarkOf(log.ID(), number); max(m.Clean, m.Since) > log.Generation() {
			complain("_den_meta: the file was used in generation %d of the log, which has come to %d", max(m.Clean, m.Since), log.Generation())
		}
	}
	return meta, nil
}
