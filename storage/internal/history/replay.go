package history

// Replaying the commit log: the pages of the entries that a file lacks are written in one or more transactions, through SQLite's own
// pager.

import (
	"fmt"
	"math"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/session"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// Replay writes the entries of a room's part of the log that follow a transaction into the open file, which has that one as its
// newest, and the layout. The caller checkpoints.
func Replay(ses *session.Session, room nodelog.RoomLog, number, layout uint64) error {
	if err := roomfile.Failed(ses.Conn.SetConfig(sqlite.ConfigDefensive, 0)); err != nil {
		return err
	}
	// What was committed under a larger Options.MaxBytes stays.
	if err := ses.Each(fmt.Sprintf("PRAGMA max_page_count = %d", uint32(math.MaxUint32-1)), func(*session.Rows) {}); err != nil {
		return err
	}
	r := &replayer{ses: ses, layout: layout}
	r.changed = pagelog.NewBuffer(r.read)
	next := number + 1
	err := room.Replay(number, func(e nodelog.LogEntry) error {
		if err := pagelog.CheckOrder(e.Number, next); err != nil {
			return PagesError(err)
		}
		next++
		if bug.On("replay-last") && e.Number == room.Last() {
			return nil
		}
		if err := r.apply(e); err != nil || r.changed.Size() < pagelog.MaxBuffered {
			return PagesError(err)
		}
		return r.write()
	})
	if err == nil {
		err = r.write()
	}
	return err
}

// A replayer applies entries to an open database: in memory, and some at a time in a transaction.
type replayer struct {
	ses     *session.Session
	layout  uint64
	changed *pagelog.Buffer
	pages   uint32 // of the database; 0: not known yet
	empty   bool   // the entries begin with a snapshot: what the file has is no part of it
}

// read reads a page as the file has it.
func (r *replayer) read(number uint32, page []byte) error {
	if r.empty {
		return nil
	}
	return r.ses.Each("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1", func(rows *session.Rows) { copy(page, rows.Bytes(0)) }, int64(number))
}

func (r *replayer) count() (uint32, error) {
	if r.pages > 0 {
		return r.pages, nil
	}
	err := r.ses.Each("PRAGMA page_count", func(rows *session.Rows) { r.pages = uint32(rows.Int(0)) })
	return r.pages, err
}

// LargeEntry is how large a payload is that is applied by itself, without its pages in memory.
const LargeEntry = 8 << 20

// apply applies an entry.
func (r *replayer) apply(e nodelog.LogEntry) error {
	t, err := pagelog.Parse(e.Number, e.Payload)
	if err != nil {
		return err
	}
	if err := t.CheckLayout(r.layout); err != nil {
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
	if len(e.Payload) > LargeEntry && !r.empty {
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
	if err := r.ses.Do(session.Begin); err != nil {
		return err
	}
	p := &writtenPages{replayer: r}
	err := t.Apply(p)
	if err == nil && p.first != nil {
		err = r.put(1, p.first)
	}
	if err != nil {
		r.ses.Do(session.Rollback)
		return err
	}
	return r.ses.Do(session.Commit)
}

// writtenPages are pages that are written as soon as they have changed, but for the first one, which has to be the last, see putAll.
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
	_, err := r.ses.Exec(session.Own, "INSERT INTO sqlite_dbpage (schema, pgno, data) VALUES ('main', ?1, ?2)", []any{int64(number), page})
	return err
}

// write commits the pages to the file.
func (r *replayer) write() error {
	if r.changed.Size() == 0 {
		return nil
	}
	if err := r.ses.Do(session.Begin); err != nil {
		return err
	}
	if err := r.putAll(); err != nil {
		r.ses.Do(session.Rollback)
		return err
	}
	r.changed.Clear()
	r.empty = false
	return r.ses.Do(session.Commit)
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
