package commitlog

// The active segment of a generation that crashed: its last part is read, and it is sealed.

import (
	"errors"
	"os"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// recover seals the active segment of a generation that crashed.
func (l *Log) recover(c *current) error {
	name, path := segment.Name(c.active), l.path(c.active)
	size, err := l.o.FS.Size(path)
	if err != nil {
		return failure("looking for "+name, err)
	}
	f, err := l.o.FS.Open(path, os.O_RDWR)
	if err != nil {
		return failure("opening "+name, err)
	}
	defer f.Close()
	g := &logSegment{File: segment.File{Number: c.active, Size: size}, sealedAt: l.now(), generation: c.generation}
	preamble, err := segment.ReadPreamble(f, c.active, min(size, segment.Start))
	if err != nil {
		return err
	}
	salt, found, err := l.findSalt(f, g, preamble)
	if err != nil {
		return err
	}
	if g.Salt = salt; found && size >= segment.Start {
		err = l.recoverRecords(f, g, preamble)
	} else {
		g.tail, g.hole = segment.Start, max(size, segment.Start)
		l.o.Logger.Error("commit log: the beginning of a file is damaged, and rooms that need the file will be refused", "file", name)
	}
	if err != nil {
		return err
	}
	l.segments = append(l.segments, g)
	crashed := crashRange{generation: c.generation, from: c.floor, through: c.active}
	if c.crashed.generation != 0 {
		crashed.from = min(c.floor, c.crashed.from)
	}
	l.recovery.reset(crashed)
	return nil
}

// recoverRecords reads the last part of a segment, and seals it.
func (l *Log) recoverRecords(f vfs.File, g *logSegment, preamble []byte) error {
	name := segment.Name(g.Number)
	s, indexes, err := g.ScanLast(f, preamble)
	if err != nil {
		return failure("reading "+name, err)
	}
	l.o.Logger.Info("commit log: the last run did not end well; its segment is recovered", "file", name, "bytes", s.End, "read", s.End-s.From)
	l.logDamage(g.Number, s)
	for _, x := range indexes {
		g.indexes = append(g.indexes, &index{Index: x})
	}
	l.readFrom = s.From
	if err := l.seal(f, g, s); err != nil {
		return failure("sealing "+name, err)
	}
	return nil
}

// findSalt finds the salt of a segment of this log. It also repairs the header if a single bit has flipped.
func (l *Log) findSalt(f vfs.File, g *logSegment, preamble []byte) (salt uint32, found bool, err error) {
	if salt, err = segment.CheckHeader(preamble, l.id, g.Number); err == nil || !errors.Is(err, ErrCorrupt) {
		return salt, err == nil, err
	}
	name := segment.Name(g.Number)
	salt, header, found, err := segment.FindSalt(f, l.id, g.Number, preamble)
	switch {
	case err != nil || !found:
	case header == nil:
		l.o.Logger.Error("commit log: the header of a segment is damaged; its records can be read", "file", name)
	default:
		l.o.Logger.Warn("commit log: a bit in the header of a segment had flipped, and was repaired", "file", name)
		_, err = f.WriteAt(header, 0) // synced with the rest
	}
	return salt, found, failureOrNil("reading "+name, err)
}

func (l *Log) logFlip(number uint64, at int64) {
	l.o.Logger.Warn("commit log: a bit has flipped, and is repaired when it is read", "file", segment.Name(number), "offset", at)
}

func (l *Log) logDamage(number uint64, s *segment.Scan) {
	name := segment.Name(number)
	for _, at := range s.FlippedBits() {
		l.logFlip(number, at)
	}
	for _, at := range s.Damaged {
		l.o.Logger.Error("commit log: an entry is damaged, and its room will be refused if it needs it", "file", name, "offset", at)
	}
	for _, h := range s.Holes {
		l.o.Logger.Error("commit log: entries of unknown rooms are damaged, and rooms that may need them will be refused",
			"file", name, "offset", h.From, "to", h.To)
	}
}

// seal ends a segment with an index of what was scanned.
func (l *Log) seal(f vfs.File, g *logSegment, s *segment.Scan) error {
	x, size, err := s.Seal(f)
	if x.Rooms > 0 {
		g.indexes = append(g.indexes, &index{Index: x})
	}
	g.tail, g.hole, g.Size = s.End, s.HoleEnd(), size
	if err != nil {
		return err
	}
	return l.sync(f)
}
