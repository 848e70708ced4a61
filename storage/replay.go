package storage

// Replaying the commit log: the pages of the entries that a file lacks are written in one or more transactions, through SQLite's own
// pager.

import (
	"errors"
	"fmt"
	"github.com/denrooms/den/storage/internal/session"
	"math"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/sqlite"
)

// replay writes the entries that follow the file's newest transaction into the file.
func (st *store) replay(room RoomLog) error {
	if err := failed(st.sql.Conn.SetConfig(sqlite.ConfigDefensive, 0)); err != nil {
		return err
	}
	// What was committed under a larger Options.MaxBytes stays.
	if err := st.sql.Each(fmt.Sprintf("PRAGMA max_page_count = %d", uint32(math.MaxUint32-1)), func(*Rows) {}); err != nil {
		return err
	}
	r := &replayer{st: st}
	r.changed = pagelog.NewBuffer(r.read)
	next := st.number + 1
	err := room.Replay(st.number, func(e LogEntry) error {
		if err := pagelog.CheckOrder(e.Number, next); err != nil {
			return pagesError(err)
		}
		next++
		if bug.On("replay-last") && e.Number == room.Last() {
			return nil
		}
		if err := r.apply(e); err != nil || r.changed.Size() < pagelog.MaxBuffered {
			return pagesError(err)
		}
		return r.write()
	})
	if err == nil {
		err = r.write()
	}
	if err != nil {
		return err
	}
	return st.checkpoint(sqlite.CheckpointTruncate)
}

// A replayer applies entries to an open database: in memory, and some at a time in a transaction.
type replayer struct {
	st      *store
	changed *pagelog.Buffer
	pages   uint32 // of the database; 0: not known yet
	empty   bool   // the entries begin with a snapshot: what the file has is no part of it
}

// read reads a page as the file has it.
func (r *replayer) read(number uint32, page []byte) error {
	if r.empty {
		return nil
	}
	return r.st.sql.Each("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1", func(rows *Rows) { copy(page, rows.Bytes(0)) }, int64(number))
}

func (r *replayer) count() (uint32, error) {
	if r.pages > 0 {
		return r.pages, nil
	}
	err := r.st.sql.Each("PRAGMA page_count", func(rows *Rows) { r.pages = uint32(rows.Int(0)) })
	return r.pages, err
}

// largeEntry is how large a payload is that is applied by itself, without its pages in memory.
const largeEntry = 8 << 20

// apply applies an entry.
func (r *replayer) apply(e LogEntry) error {
	t, err := pagelog.Parse(e.Number, e.Payload)
	if err != nil {
		return err
	}
	if err := t.CheckLayout(r.st.layout); err != nil {
		return err
	}
	if t.Snapshot { // the file was made in the midst of it, or after a crash in it
		r.changed.Clear()
		r.empty = true
	} else if n, err := r.count(); err != nil {
		return err // the disk has failed, which says nothing of the file and the log
	} else if err := t.CheckSize(n); err != nil {
		return err
	}
	if len(e.Payload) > largeEntry && !r.empty {
		err = r.applyLarge(t)
	} else {
		err = t.Apply(r.changed)
	}
	r.pages = t.After
	return err
}

// applyLarge applies a transaction page by page, in a transaction of its own.
func (r *replayer) applyLarge(t pagelog.Transaction) error {
	if err := r.write(); err != nil {
		return err
	}
	d := r.st
	if err := d.sql.Do(session.Begin); err != nil {
		return err
	}
	p := &writtenPages{replayer: r}
	err := t.Apply(p)
	if err == nil && p.first != nil {
		err = r.put(1, p.first)
	}
	if err != nil {
		d.sql.Do(session.Rollback)
		return err
	}
	return d.sql.Do(session.Commit)
}

// writtenPages are pages that are written as soon as they have changed, but for the first one, which has to be
// the last, see write.
type writtenPages struct {
	*replayer
	first []byte
}

// Page is pagelog.Pages'.
func (w *writtenPages) Page(number uint32) ([]byte, error) { return w.changed.Page(number) }

// Changed is pagelog.Pages'.
func (w *writtenPages) Changed(number uint32, page []byte) error {
	w.changed.Drop(number)
	if number == 1 {
		w.first = page
		return nil
	}
	return w.put(number, page)
}

// put writes a page into the file, in a transaction that is open.
func (r *replayer) put(number uint32, page []byte) error {
	_, err := r.st.sql.Exec(session.Own, "INSERT INTO sqlite_dbpage (schema, pgno, data) VALUES ('main', ?1, ?2)", []any{int64(number), page})
	return err
}

// write commits the pages to the file.
func (r *replayer) write() error {
	if r.changed.Size() == 0 {
		return nil
	}
	d := r.st
	if err := d.sql.Do(session.Begin); err != nil {
		return err
	}
	if err := r.putAll(); err != nil {
		d.sql.Do(session.Rollback)
		return err
	}
	r.changed.Clear()
	r.empty = false
	return d.sql.Do(session.Commit)
}

// putAll puts the pages into the file, page 1 last: with it SQLite sees that the schema has changed, and reads it, whole or not.
func (r *replayer) putAll() error {
	var first []byte
	for number, page := range r.changed.All() {
		if number == 1 {
			first = page
			continue
		}
		if err := r.put(number, page); err != nil {
			return err
		}
	}
	if first == nil {
		return nil
	}
	return r.put(1, first)
}

// pagesError wraps an error of package pagelog with the error of this package that it means.
func pagesError(err error) error {
	for _, e := range []struct{ theirs, ours error }{
		{pagelog.ErrCorrupt, ErrCorrupt},
		{pagelog.ErrNewer, ErrNewer},
		{pagelog.ErrMismatch, ErrLogMismatch},
		{pagelog.ErrDiverged, ErrNoHistory},
	} {
		if errors.Is(err, e.theirs) {
			return fmt.Errorf("%w: %w", e.ours, err)
		}
	}
	return err
}
