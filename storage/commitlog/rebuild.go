package commitlog

// CURRENT made again from the segments, because it is missing, older than they are, or damaged in both copies. The headers tell
// which log and generation the segments are of, the records what is in them. What was released since the newest segment was begun
// is not known. So all segments from there on count as left by a crash, and every room says again what it has.

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// checkAge returns ErrCorrupt if CURRENT is older than the segments, because somebody has put it there: a
// segment after all that it names has records.
func (d *directory) checkAge(c *current, have map[uint64]bool) error {
	for n := range have {
		if n < c.next() {
			continue
		}
		h, err := d.readHeader(n)
		if errors.Is(err, ErrIO) {
			return err
		}
		if err != nil || h.ID != c.id {
			continue
		}
		f, err := d.open(n, os.O_RDONLY)
		if err != nil {
			return err
		}
		has, err := segment.HasRecord(f)
		if failed := f.Close(); err != nil {
			return failure("reading "+segment.Name(n), errors.Join(err, failed))
		}
		if has {
			return fmt.Errorf("commitlog: %w: %s is older than %s", ErrCorrupt, currentName, segment.Name(n))
		}
	}
	return nil
}

// rebuild makes CURRENT from the segments in the directory. b is what is left of the file, and why is what is wrong
// with it, nil if it is missing.
func (d *directory) rebuild(have map[uint64]bool, b []byte, why error, now time.Time) (*current, error) {
	m, err := d.readHeaders(slices.Collect(maps.Keys(have)), b)
	if err != nil {
		return nil, err
	}
	for _, h := range m.foreign {
		d.renameForeign(h.Number, h.ID)
		delete(have, h.Number)
	}
	c := &current{id: m.id, first: m.highest, floor: m.highest, nameless: make(map[segment.Key]uint64)}
	c.clock.wall = now.UnixMilli()
	for _, h := range m.headers {
		c.relaxedCrash = max(c.relaxedCrash, h.Unsynced)
		if h.Relaxed {
			c.relaxedCrash = max(c.relaxedCrash, h.Generation)
		}
	}
	// Each generation begins one segment at least.
	c.generation = m.newest.Generation + m.highest - m.newest.Number
	if n := len(m.numbers); n > 0 {
		c.first = m.numbers[0]
		c.floor = min(max(c.first, m.newest.Floor), m.numbers[n-1])
		c.crashed = crashRange{generation: c.generation, from: c.floor, through: m.numbers[n-1]}
	}
	for n, before := c.first, uint64(1); n <= c.crashed.through; n++ {
		if h, ok := m.headers[n]; ok {
			before = h.Generation
		}
		c.segments = append(c.segments, unscannedSegment(n, before))
	}
	d.logger.Error("commit log: a file is missing or damaged, and was made again from the segments; every room has to be recovered",
		"file", d.file(currentName), "segments", len(c.segments), "why", cmp.Or(why, errNoCurrent))
	return c, nil
}
