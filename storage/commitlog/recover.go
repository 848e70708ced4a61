package commitlog

// What a crash has left: the last part of the segment that was written is read to its end,
// and ended with an index.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/denrooms/den/storage/vfs"
)

// recover puts the active segment of a generation that crashed in order.
func (l *Log) recover(c *current) error {
	name, path := segmentName(c.active), l.path(c.active)
	size, err := l.o.FS.Size(path)
	if err != nil {
		return failure("looking for "+name, err)
	}
	f, err := l.o.FS.Open(path, os.O_RDWR)
	if err != nil {
		return failure("opening "+name, err)
	}
	defer f.Close()
	g := &segment{number: c.active, size: size, newest: l.now(), generation: c.generation}
	begin, err := g.begin(f)
	if err != nil {
		return err
	}
	salt, found, err := l.findSalt(f, g, begin)
	if err != nil {
		return err
	}
	if g.salt = salt; found && size >= segmentStart {
		err = l.recoverRecords(f, g, begin)
	} else {
		g.tail, g.hole = segmentStart, max(size, segmentStart)
		l.o.Logger.Error("commit log: the beginning of a file is damaged, and rooms that need the file will be refused", "file", name)
	}
	if err != nil {
		return err
	}
	l.segments = append(l.segments, g)
	crashed := suspects{generation: c.generation, from: c.floor, through: c.active}
	if c.crashed.generation != 0 {
		crashed.from = min(c.floor, c.crashed.from)
	}
	l.crashed.begin(crashed)
	return nil
}

// recoverRecords reads the last part of a segment, and ends it.
func (l *Log) recoverRecords(f vfs.File, g *segment, begin []byte) error {
	name := segmentName(g.number)
	hints := []uint32{parseHint(begin[hintAt(0):], g.salt), parseHint(begin[hintAt(1):], g.salt)}
	s, err := g.lastPart(f, hints)
	if err == nil {
		err = s.run()
	}
	if err == nil {
		err = s.forgive(hints...)
	}
	if err != nil {
		return failure("reading "+name, err)
	}
	l.o.Logger.Info("commit log: the last run did not end well", "file", name, "bytes", s.end, "read", s.end-s.from)
	l.complain(s)
	l.begun = s.from
	if err := l.seal(f, g, s); err != nil {
		return failure("sealing "+name, err)
	}
	return nil
}

// begin reads what lies before the first record; what the file does not have of it is zeros.
func (g *segment) begin(f vfs.File) ([]byte, error) {
	b := make([]byte, segmentStart)
	if n, err := f.ReadAt(b[:min(g.size, segmentStart)], 0); int64(n) < min(g.size, segmentStart) {
		return nil, shortRead(g.number, int64(n), err)
	}
	return b, nil
}

// findSalt finds the salt of a segment of this log; found is false if it is nowhere.
func (l *Log) findSalt(f vfs.File, g *segment, begin []byte) (salt uint32, found bool, err error) {
	if salt, err = checkSegmentHeader(begin, l.id, g.number); err == nil || !errors.Is(err, ErrCorrupt) {
		return salt, err == nil, err
	}
	name := segmentName(g.number)
	salt, header, found, err := l.salvageSalt(f, g, begin)
	switch {
	case err != nil || !found:
	case header == nil:
		l.o.Logger.Error("commit log: the header of a file is damaged; its records are used", "file", name)
	default:
		l.o.Logger.Warn("commit log: a bit of a header has flipped, and is put right", "file", name)
		_, err = f.WriteAt(header, 0) // which is synced with the rest
	}
	return salt, found, failureOrNil("reading "+name, err)
}

// salvageSalt finds the salt of a segment whose header is damaged. It may be damaged by a bit only;
// then header is what it should be. Or the salt is in the first record too, or what it has of the
// salt fits the hints.
func (l *Log) salvageSalt(f io.ReaderAt, g *segment, begin []byte) (salt uint32, header []byte, found bool, err error) {
	header = slices.Clone(begin[:segmentHeader])
	if _, ok := mendHeader(header); ok {
		if salt, err := checkSegmentHeader(header, l.id, g.number); err == nil {
			return salt, header, true, nil
		}
	}
	first := make([]byte, recordHeader)
	if n, err := f.ReadAt(first, segmentStart); n < len(first) && !errors.Is(err, io.EOF) {
		return 0, nil, false, shortRead(g.number, segmentStart, err)
	}
	for _, salt := range []uint32{binary.LittleEndian.Uint32(begin[segmentHeader-4:]), binary.LittleEndian.Uint32(first[8:])} {
		r, ok := parseHeader(first, salt)
		if ok && r.chain == salt || parseHint(begin[hintAt(0):], salt)|parseHint(begin[hintAt(1):], salt) != 0 {
			return salt, nil, true, nil
		}
	}
	return 0, nil, false, nil
}

// noticed tells the operator of a flipped bit.
func (l *Log) noticed(number uint64, at int64) {
	l.o.Logger.Warn("commit log: a bit has flipped, and is read as it was", "file", segmentName(number), "offset", at)
}

// complain tells the operator what is damaged.
func (l *Log) complain(s *scan) {
	name := segmentName(s.number)
	for _, f := range s.flips {
		l.noticed(s.number, f.at)
	}
	for _, at := range s.bad {
		l.o.Logger.Error("commit log: an entry is damaged, and its room will be refused if it needs it", "file", name, "offset", at)
	}
	for _, h := range s.holes {
		l.o.Logger.Error("commit log: entries of unknown rooms are damaged, and rooms that may need them will be refused",
			"file", name, "offset", h.from, "to", h.to)
	}
}

// seal ends a segment behind what was read of it with an index of that.
func (l *Log) seal(f vfs.File, g *segment, s *scan) error {
	var footer []byte
	if len(s.index.of) > 0 {
		footer, _ = encodeIndex(slices.Collect(maps.Values(s.index.of)), g.salt, footerBlock)
		g.indexes = append(g.indexes, &index{offset: uint32(s.end), rooms: uint32(len(s.index.of))})
	}
	g.tail, g.hole, g.size = s.end, s.hole(), s.end+int64(len(footer))
	for _, flip := range s.flips {
		b := []byte{0}
		if n, err := f.ReadAt(b, flip.at); n == 0 {
			return err
		}
		b[0] ^= flip.mask
		if _, err := f.WriteAt(b, flip.at); err != nil {
			return err
		}
	}
	// What is behind synced may be only in the cache of a system whose sync has failed:
	// it is written again.
	if err := copyRange(f, f, min(s.synced, s.end), s.end, nil); err != nil {
		return err
	}
	if _, err := f.WriteAt(footer, s.end); err != nil {
		return err
	}
	if err := s.blankRest(f, g.size); err != nil {
		return err
	}
	return l.sync(f)
}

// blankRest removes what was not whole from a segment: it is not to be taken for anything when
// CURRENT has to be made again. The zeros there stay, because to free them takes longer than all the
// rest.
func (s *scan) blankRest(f vfs.File, from int64) error {
	s.buf, s.start = s.buf[:0], 0 // what was written since
	last := from
	for at := from; at < s.limit; {
		b, err := s.bytes(at, int(min(s.limit-at, scanWindow)), forwards)
		if err != nil {
			return err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			last = at + int64(n)
		}
		at += int64(len(b))
	}
	if last-from > 2*mostZeros {
		return f.Truncate(from)
	}
	_, err := f.WriteAt(make([]byte, last-from), from)
	return err
}

// copyRange copies a part of a file to the same place in another, or in itself, and puts bits
// right in passing.
func copyRange(to, from vfs.File, begin, end int64, flips []flip) error {
	b := make([]byte, max(min(end-begin, writeBytes), 0))
	for begin < end {
		part := b[:min(end-begin, writeBytes)]
		if n, err := from.ReadAt(part, begin); n < len(part) {
			return errors.Join(errShort, err)
		}
		for _, f := range flips {
			f.apply(part, begin)
		}
		if _, err := to.WriteAt(part, begin); err != nil {
			return err
		}
		begin += int64(len(part))
	}
	return nil
}
