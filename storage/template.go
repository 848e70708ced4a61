package storage

// The content of a new file, made once for all rooms of a Pool. The pages that are the same in each room (Den's tables, those of the
// program, the notes) are copied from the first room, which began with Den's tables alone (plain.go). The page that names the room is
// made for each room.

import (
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/internal/template"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// MakeTemplate syncs tables, and has all new files of this Pool begin as this one is now. It does nothing if the file is not new, if
// a table has rows, because another room may need other rows, or if the Pool has a template.
func (d *DB) MakeTemplate(tables ...string) error {
	k := d.o.Pool
	if k == nil || !d.created || k.template.Load() != nil {
		return nil
	}
	if err := d.Sync(tables...); err != nil {
		return err
	}
	if err := d.sql.Lock(); err != nil {
		return err
	}
	defer d.sql.Mu.Unlock()
	if rows, err := anyRows(&d.sql); err != nil || rows {
		return err
	}
	t, err := template.Take(&d.sql, d.notes.all())
	if err == nil && t != nil {
		k.template.Store(t)
	}
	return err
}

// anyRows reports whether a table that is not Den's has rows.
func anyRows(ses *session.Session) (some bool, err error) {
	var names []string
	err = ses.Each(`SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, 5) <> '_den_'`, func(r *Rows) {
		names = append(names, string(r.Bytes(0)))
	})
	for _, name := range names {
		if err != nil || some {
			break
		}
		err = ses.Each("SELECT 1 FROM "+sqlite.Quote(name)+" LIMIT 1", func(*Rows) { some = true })
	}
	return some, err
}

// newMeta returns the rows of a new room's _den_meta.
func newMeta(o Options, epoch string) map[string]Value {
	return map[string]Value{
		"namespace": o.Namespace, "room": o.Room, "epoch": epoch, "floor": int64(0),
		"created_at": o.Now().UnixMilli(), "log": "", "clean": int64(0), roomfile.EpochSum: roomfile.SumOf(epoch),
	}
}
