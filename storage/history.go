package storage

// The room as it was: from the file as it is, walked back by the entries that the commit
// log still has.

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/denrooms/den/storage/vfs"
)

// A Point in a room's history: the newest state whose Seq is not above Seq and, where
// Time is set, whose time is not after it. A Seq of 0 means any.
type Point struct {
	Seq  Seq
	Time time.Time
}

func (p Point) isBehind(e LogEntry) bool {
	return (p.Seq == 0 || e.Seq <= uint64(p.Seq)) && (p.Time.IsZero() || e.At <= p.Time.UnixMilli())
}

// CopyAt writes the room as it was at a point in its history into a new file, synced,
// which must not exist. It takes as long as a copy of the file and the way back from now,
// and the room waits. No batch may be open. The file tells of the same
// history; Restore makes a room of it. A *HistoryError says how far the history goes: it matches
// ErrNoHistory or ErrNotYet.
func (d *DB) CopyAt(path string, p Point) error {
	if err := d.lock(); err != nil {
		return err
	}
	defer d.mu.Unlock()
	switch {
	case d.batch != nil:
		return fmt.Errorf("storage: %w: CopyAt while a batch is open", ErrMisuse)
	}
	newest, err := d.position()
	if err == nil {
		err = d.notYet(p, newest)
	}
	if err != nil {
		return err
	}
	if now := pointOf(newest); d.room == nil {
		return &HistoryError{Asked: p, Oldest: now, Newest: now, Err: fmt.Errorf("%w, because the room has no commit log", ErrNoHistory)}
	}
	if err = d.copyTo(path); err == nil {
		err = d.rewind(path, p)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = errors.Join(err, d.o.FS.Remove(path))
	}
	return err
}

// rewind takes transactions back in a copy of the file.
func (d *DB) rewind(path string, p Point) error {
	f, err := d.o.FS.Open(path, os.O_RDWR)
	if err != nil {
		return err
	}
	c := d.copied(f)
	expected, reached := d.number, d.number == 0
	err = d.room.Backward(func(e LogEntry) (bool, error) {
		if e.Number != expected {
			return false, fmt.Errorf("%w: transaction %d comes where %d should", ErrLogMismatch, e.Number, expected)
		}
		if reached = p.isBehind(e); reached {
			return false, nil
		}
		if leads, err := c.leadsBack(e); err != nil || !leads {
			return false, err
		}
		expected--
		reached = expected == 0 // before the first transaction: the room was empty
		return !reached, c.back(e)
	})
	incomplete := errors.Is(err, ErrLogIncomplete)
	if err == nil || incomplete {
		err = c.flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && !reached {
		err = d.endOfHistory(path, p, expected)
	}
	if end, is := errors.AsType[*HistoryError](err); is && incomplete {
		end.Err = fmt.Errorf("%w, because a file of the commit log is missing", ErrNoHistory)
	}
	return err
}

// copied is a copy of a file on its way back.
type copied struct {
	o       Options
	epoch   string
	f       vfs.File
	turn    func(path string) error // makes f the file that is at a path, or a copy of it
	layout  uint64                  // of the file that it is a copy of
	changed map[uint32][]byte
	pages   uint32 // 0: not known
}

// copied begins the way back of a copy of the file.
func (d *DB) copied(f vfs.File) *copied {
	c := &copied{o: d.o, epoch: d.epoch, f: f, layout: d.layout, changed: make(map[uint32][]byte)}
	c.turn = func(path string) error { return copyOver(d.o.FS, path, c.f) }
	return c
}

// leadsBack makes sure that the copy has the pages that a transaction left, before it is taken back: where
// the file was compacted after it, the copy becomes one of the file that was there before. leads is false if
// that file is gone: then the history begins here.
func (c *copied) leadsBack(e LogEntry) (leads bool, err error) {
	if c.layout == 0 || e.Number != c.layout {
		return true, nil
	}
	path, p, err := c.o.pastWith(c.epoch, e.Number)
	if err != nil || path == "" || p.layout >= c.layout {
		return false, err
	}
	if err := c.turn(path); err != nil {
		return false, err
	}
	clear(c.changed)
	c.layout, c.pages = p.layout, 0
	return true, nil
}

// back takes a transaction back.
func (c *copied) back(e LogEntry) error {
	content, err := parsePayload(e.Payload)
	if err != nil {
		return err
	}
	if err := content.fits(c.layout, e.Number); err != nil {
		return err
	}
	err = content.changed(func(number, sum uint32, difference []byte) error {
		page := c.changed[number]
		if page == nil {
			page = make([]byte, pageSize)
			if _, err := c.f.ReadAt(page, int64(number-1)*pageSize); err != nil {
				return err
			}
			c.changed[number] = page
		}
		if checksum(number, page) != sum {
			return fmt.Errorf("%w: page %d is not what transaction %d left", ErrNoHistory, number, e.Number)
		}
		return applyDifference(page, difference)
	})
	if err != nil {
		return err
	}
	c.pages = content.before
	if len(c.changed)*pageSize >= replayBytes {
		return c.flush()
	}
	return nil
}

// flush writes the pages into the file, and cuts off what was not there yet.
func (c *copied) flush() error {
	for _, number := range slices.Sorted(maps.Keys(c.changed)) {
		if _, err := c.f.WriteAt(c.changed[number], int64(number-1)*pageSize); err != nil {
			return err
		}
	}
	clear(c.changed)
	if c.pages == 0 {
		return nil
	}
	return c.f.Truncate(int64(c.pages) * pageSize)
}
