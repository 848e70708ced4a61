package commitlog

// Sealing what earlier generations have left: the active segment of one that crashed, of which the last part is read,
// and segments of which CURRENT says nothing, because it was made again.

import (
	"errors"
	"os"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// sealer seals segments while the log is opened.
type sealer struct {
	dir      *directory
	now      func() time.Time
	readFrom int64 // offset from which the active segment was read; 0: there was no crash
}

// recover seals the active segment of a generation that crashed, and says so in c.
func (s *sealer) recover(c *current) error {
	g, err := s.seal(c, c.active, c.generation, s.scanLast)
	if err != nil {
		return err
	}
	from := c.floor
	if c.crashed.generation != 0 {
		from = min(from, c.crashed.from)
	}
	c.crashed = crashRange{generation: c.generation, from: from, through: c.active}
	if c.relaxed {
		c.relaxedCrash = c.generation
	}
	c.segments, c.active = append(c.segments, g), 0
	return nil
}

func (s *sealer) scanLast(g *logSegment, f vfs.File, preamble []byte) (*segment.Scan, error) {
	found, indexes, err := g.ScanLast(f, preamble)
	if err != nil {
		return nil, err
	}
	s.dir.logger.Info("commit log: the last run did not end well; its segment is recovered",
		"file", segment.Name(g.Number), "bytes", found.End, "read", found.End-found.From)
	for _, x := range indexes {
		g.indexes = append(g.indexes, &index{Index: x})
	}
	s.readFrom = found.From
	return found, nil
}

// reindex seals a segment with an index of all of its records.
func (s *sealer) reindex(c *current, g *logSegment) (*logSegment, error) {
	return s.seal(c, g.Number, g.generation, func(g *logSegment, f vfs.File, preamble []byte) (*segment.Scan, error) { return g.ScanAll(f, preamble) })
}

// seal repairs a segment of the log that c describes, and ends it with an index of what scan finds.
func (s *sealer) seal(c *current, number, generation uint64, scan func(*logSegment, vfs.File, []byte) (*segment.Scan, error)) (*logSegment, error) {
	name := segment.Name(number)
	size, err := s.dir.size(number)
	if err != nil {
		return nil, err
	}
	f, err := s.dir.open(number, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	g := &logSegment{File: segment.File{Number: number, Size: size}, sealedAt: c.clock.read(s.now()), generation: generation}
	preamble, err := segment.ReadPreamble(f, number, min(size, segment.Start))
	if err != nil {
		return nil, err
	}
	salt, readable, err := s.findSalt(f, c.id, number, preamble)
	if err != nil {
		return nil, err
	}
	if g.Salt = salt; !readable || size < segment.Start {
		g.tail, g.hole = segment.Start, max(size, segment.Start)
		s.dir.logger.Error("commit log: the beginning of a file is damaged, and rooms that need the file will be refused", "file", name)
		return g, nil
	}
	found, err := scan(g, f, preamble)
	if err != nil {
		return nil, failure("reading "+name, err)
	}
	s.dir.logDamage(number, found)
	if err := s.writeEnd(g, f, found); err != nil {
		return nil, failure("sealing "+name, err)
	}
	return g, nil
}

// writeEnd ends a segment with an index of what was scanned.
func (s *sealer) writeEnd(g *logSegment, f vfs.File, found *segment.Scan) error {
	x, size, err := found.Seal(f)
	if err != nil {
		return err
	}
	if x.Rooms > 0 {
		g.indexes = append(g.indexes, &index{Index: x})
	}
	g.tail, g.hole, g.Size = found.End, found.HoleEnd(), size
	return s.dir.sync(f)
}

// findSalt finds the salt of a segment of a log. It also repairs the header if a single bit has flipped.
func (s *sealer) findSalt(f vfs.File, id [16]byte, number uint64, preamble []byte) (salt uint32, found bool, err error) {
	if salt, err = segment.CheckHeader(preamble, id, number); err == nil || !errors.Is(err, ErrCorrupt) {
		return salt, err == nil, err
	}
	name := segment.Name(number)
	salt, header, found, err := segment.FindSalt(f, id, number, preamble)
	switch {
	case err != nil || !found:
	case header == nil:
		s.dir.logger.Error("commit log: the header of a segment is damaged; its records can be read", "file", name)
	default:
		s.dir.logger.Warn("commit log: a bit in the header of a segment had flipped, and was repaired", "file", name)
		_, err = f.WriteAt(header, 0) // synced with the rest
	}
	if err != nil {
		err = failure("reading "+name, err)
	}
	return salt, found, err
}
