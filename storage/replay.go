package storage

// Bringing a file forward by the commit log: the pages of the entries that it lacks, in
// one transaction or some, through SQLite's own pager.

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/sqlite"
)

// replayBytes is how much of a file a replay holds in memory before it commits.
const replayBytes = 64 << 20

// replay writes the entries behind the file's number into the file.
func (d *DB) replay(room RoomLog) error {
	if err := failed(d.c.SetConfig(sqlite.ConfigDefensive, 0)); err != nil {
		return err
	}
	// What was committed under a larger Options.MaxBytes stays.
	if err := d.each(fmt.Sprintf("PRAGMA max_page_count = %d", uint32(math.MaxUint32-1)), func(*Rows) {}); err != nil {
		return err
	}
	p := pageSet{d: d, changed: make(map[uint32][]byte)}
	next := d.number + 1
	err := room.Replay(d.number, func(e LogEntry) error {
		if e.Number != next {
			return fmt.Errorf("%w: transaction %d comes where %d should", ErrLogMismatch, e.Number, next)
		}
		next++
		if bug.On("replay-last") && e.Number == room.Last() {
			return nil
		}
		if err := p.forward(e); err != nil || len(p.changed)*pageSize < replayBytes {
			return err
		}
		return p.write()
	})
	if err == nil {
		err = p.write()
	}
	if err != nil {
		return err
	}
	return d.checkpoint(sqlite.CheckpointTruncate)
}

// pageSet is a file's pages while entries are applied to it, in either direction.
type pageSet struct {
	d       *DB
	changed map[uint32][]byte
	pages   uint32 // of the database; 0: not known yet
	blank   bool   // the first entry begins with nothing: what the file has is no part of it
}

func (p *pageSet) page(number uint32) ([]byte, error) {
	if page := p.changed[number]; page != nil {
		return page, nil
	}
	page := make([]byte, pageSize)
	if p.blank {
		p.changed[number] = page
		return page, nil
	}
	err := p.d.each("SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1", func(r *Rows) { copy(page, r.Bytes(0)) }, int64(number))
	if err != nil {
		return nil, err
	}
	p.changed[number] = page
	return page, nil
}

func (p *pageSet) count() (uint32, error) {
	if p.pages > 0 {
		return p.pages, nil
	}
	err := p.d.each("PRAGMA page_count", func(r *Rows) { p.pages = uint32(r.Int(0)) })
	return p.pages, err
}

// forward applies an entry to the pages.
func (p *pageSet) forward(e LogEntry) error {
	content, err := parsePayload(e.Payload)
	if err != nil {
		return err
	}
	if err := content.fits(p.d.layout, e.Number); err != nil {
		return err
	}
	if content.whole { // the file was made in the midst of it, or after a crash in it
		p.blank = true
	} else if n, err := p.count(); err != nil {
		return err // the disk has failed, which says nothing of the file and the log
	} else if n != content.before {
		return fmt.Errorf("%w: transaction %d begins with %d pages, the file has %d", ErrLogMismatch, e.Number, content.before, n)
	}
	if len(e.Payload) > largeEntry && !p.blank {
		return p.forwardLarge(e, content)
	}
	err = content.each(func(number, sum uint32, difference []byte) error {
		page, err := p.page(number)
		if err != nil {
			return err
		}
		return applyChecked(page, number, sum, difference, e.Number)
	})
	p.pages = content.after
	return err
}

// applyChecked turns a page into what a transaction left.
func applyChecked(page []byte, number, sum uint32, difference []byte, transaction uint64) error {
	if err := applyDifference(page, difference); err != nil {
		return err
	}
	if checksum(number, page) != sum {
		return fmt.Errorf("%w: page %d is not what transaction %d left", ErrLogMismatch, number, transaction)
	}
	return nil
}

// largeEntry is how large a payload is that is applied by itself, without its pages in memory.
const largeEntry = 8 << 20

// forwardLarge applies an entry page by page, in a transaction of its own.
func (p *pageSet) forwardLarge(e LogEntry, content payload) error {
	if err := p.write(); err != nil {
		return err
	}
	d := p.d
	if err := d.do(d.tx.begin); err != nil {
		return err
	}
	var first []byte // page 1, which is written last
	err := content.each(func(number, sum uint32, difference []byte) error {
		page, err := p.page(number)
		if err == nil {
			err = applyChecked(page, number, sum, difference, e.Number)
		}
		delete(p.changed, number)
		if number == 1 {
			first = page
			return err
		}
		if err == nil {
			err = p.put(number, page)
		}
		return err
	})
	if err == nil && first != nil {
		err = p.put(1, first)
	}
	p.pages = content.after
	if err != nil {
		d.do(d.tx.rollback)
		return err
	}
	return d.do(d.tx.commit)
}

// put writes a page into the file, in a transaction that is open.
func (p *pageSet) put(number uint32, page []byte) error {
	_, err := p.d.exec(own, "INSERT INTO sqlite_dbpage (schema, pgno, data) VALUES ('main', ?1, ?2)", []any{int64(number), page})
	return err
}

// write commits the pages to the file.
func (p *pageSet) write() error {
	if len(p.changed) == 0 {
		return nil
	}
	d := p.d
	if err := d.do(d.tx.begin); err != nil {
		return err
	}
	numbers := slices.Sorted(maps.Keys(p.changed))
	if numbers[0] == 1 { // last: with it SQLite sees that the schema has changed, and reads it, whole or not
		numbers = append(numbers[1:], 1)
	}
	for _, number := range numbers {
		if err := p.put(number, p.changed[number]); err != nil {
			d.do(d.tx.rollback)
			return err
		}
	}
	clear(p.changed)
	p.blank = false
	return d.do(d.tx.commit)
}
