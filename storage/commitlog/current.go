package commitlog

// The file CURRENT: which segments there are, and how the last generation ended. It is all that Open reads after a
// good end. The package's doc has its byte table, and says why it holds its content twice.

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

const (
	currentName       = "CURRENT"
	currentMagic      = "DenCurr\x00"
	currentVersion    = 3
	currentHeaderSize = 128
	maxCurrent        = 1 << 30
	currentPage       = 4096 // each copy begins at a multiple
	currentRowSize    = 40
	currentIndexSize  = 8
	currentKeySize    = 24
	pinHeader         = 20

	flagClean     = 1
	flagRelaxed   = 2 // of a segment too
	flagAbandoned = 1 // of a segment's row
)

// current is the content of CURRENT.
type current struct {
	clean        bool
	relaxed      bool // the generation is Relaxed
	id           [16]byte
	generation   uint64
	first        uint64 // number of the first segment; they have no holes
	active       uint64 // the one that is written; 0: none
	crashed      crashRange
	floor        uint64 // segments below it hold nothing unreleased
	relaxedCrash uint64 // the newest generation that was Relaxed and crashed; 0: none
	clock        clock
	segments     []*logSegment
	pins         []pin
	nameless     map[segment.Key]uint64
}

// crashRange is the segments of crashed generations that may have entries of unrecovered rooms.
type crashRange struct {
	generation    uint64 // the newest that crashed; 0: none
	from, through uint64 // segments
}

func (s crashRange) has(number uint64) bool {
	return s.generation != 0 && number >= s.from && number <= s.through
}

// errNoCurrent: there is no CURRENT.
var errNoCurrent = errors.New("it is missing")

// next returns the number of the next segment to be made.
func (c *current) next() uint64 {
	n := c.first + uint64(len(c.segments))
	if c.active != 0 {
		n++
	}
	return n
}

func (c *current) encode() []byte {
	b, le := make([]byte, currentHeaderSize), binary.LittleEndian
	copy(b, currentMagic)
	le.PutUint32(b[8:], currentVersion)
	flags := uint32(0)
	if c.clean {
		flags |= flagClean
	}
	if c.relaxed {
		flags |= flagRelaxed
	}
	le.PutUint32(b[16:], flags)
	le.PutUint32(b[20:], uint32(len(c.nameless)))
	copy(b[24:], c.id[:])
	for i, v := range c.numbers() {
		le.PutUint64(b[40+8*i:], *v)
	}
	le.PutUint64(b[104:], uint64(c.clock.elapsed))
	le.PutUint64(b[112:], uint64(c.clock.wall))
	le.PutUint32(b[120:], uint32(len(c.segments)))
	le.PutUint32(b[124:], uint32(len(c.pins)))
	for _, s := range c.segments {
		b = le.AppendUint64(le.AppendUint64(b, s.generation), uint64(s.sealedAt))
		given := uint32(0)
		if s.abandoned.Load() {
			given = flagAbandoned
		}
		for _, v := range []uint32{uint32(s.Size), uint32(s.tail), uint32(s.hole), s.Salt, uint32(len(s.indexes)), given} {
			b = le.AppendUint32(b, v)
		}
		for _, x := range s.indexes {
			b = le.AppendUint32(le.AppendUint32(b, x.Offset), x.Rooms)
		}
	}
	for _, p := range c.pins {
		names := p.id.Names
		b = le.AppendUint64(le.AppendUint64(b, p.segment), p.last)
		b = append(le.AppendUint32(b, uint32(len(names))), names...)
	}
	for _, k := range slices.SortedFunc(maps.Keys(c.nameless), func(a, b segment.Key) int { return bytes.Compare(a[:], b[:]) }) {
		b = le.AppendUint64(append(b, k[:]...), c.nameless[k])
	}
	le.PutUint32(b[12:], uint32(len(b)+4))
	return le.AppendUint32(b, segment.Sum(0, b))
}

// numbers returns the fields that follow each other in the header as u64.
func (c *current) numbers() [8]*uint64 {
	return [...]*uint64{&c.generation, &c.first, &c.active, &c.crashed.generation, &c.crashed.from, &c.crashed.through, &c.floor, &c.relaxedCrash}
}

// file returns the content of the file: two copies.
func (c *current) file() []byte {
	b := c.encode()
	second := (len(b) + currentPage - 1) / currentPage * currentPage
	f := make([]byte, second+len(b))
	copy(f, b)
	copy(f[second:], b)
	return f
}

// parseCurrent returns the first copy that is whole. damaged reports that the other one is not.
func parseCurrent(b []byte) (c *current, damaged bool, err error) {
	le := binary.LittleEndian
	if len(b) > 16 && string(b[:8]) == currentMagic && le.Uint32(b[8:]) < currentVersion && le.Uint32(b[len(b)-4:]) == segment.Sum(0, b[:len(b)-4]) {
		return nil, false, segment.CheckVersion(currentName, le.Uint32(b[8:]), currentVersion)
	}
	copies := 0
	for at := 0; at < len(b); at += currentPage {
		found, failed := parseCopy(b[at:])
		switch {
		case errors.Is(failed, ErrNewer):
			return nil, false, failed
		case failed != nil:
			err = cmp.Or(err, failed)
		default:
			c = cmp.Or(c, found)
			copies++
		}
	}
	if c == nil {
		return nil, true, cmp.Or(err, segment.Corrupt(currentName, 0, "it is empty"))
	}
	return c, copies < 2, nil
}

// parseCopy parses the copy that b begins with.
func parseCopy(b []byte) (*current, error) {
	le := binary.LittleEndian
	if len(b) < 20 || string(b[:8]) != currentMagic {
		return nil, segment.Corrupt(currentName, 0, "it begins as something else")
	}
	n := uint64(le.Uint32(b[12:]))
	if n < 20 || n > uint64(len(b)) || le.Uint32(b[n-4:]) != segment.Sum(0, b[:n-4]) {
		return nil, segment.Corrupt(currentName, 0, "it does not fit its checksum")
	}
	if err := segment.CheckVersion(currentName, le.Uint32(b[8:]), currentVersion); err != nil {
		return nil, err
	}
	bad := segment.Corrupt(currentName, 0, "its parts do not fit together")
	if b = b[:n-4]; len(b) < currentHeaderSize {
		return nil, bad
	}
	flags := le.Uint32(b[16:])
	c := &current{clean: flags&flagClean != 0, relaxed: flags&flagRelaxed != 0, id: [16]byte(b[24:40]), nameless: make(map[segment.Key]uint64)}
	for i, v := range c.numbers() {
		*v = le.Uint64(b[40+8*i:])
	}
	c.clock = clock{elapsed: int64(le.Uint64(b[104:])), wall: int64(le.Uint64(b[112:]))}
	rows, pins, nameless, b := le.Uint32(b[120:]), le.Uint32(b[124:]), uint64(le.Uint32(b[20:])), b[currentHeaderSize:]
	if c.first == 0 || c.active != 0 && c.active != c.first+uint64(rows) {
		return nil, bad
	}
	for i := range uint64(rows) {
		s, rest := parseRow(b, c.first+i)
		if s == nil {
			return nil, bad
		}
		c.segments, b = append(c.segments, s), rest
	}
	if uint64(len(b)) < nameless*currentKeySize {
		return nil, bad
	}
	list := b[uint64(len(b))-nameless*currentKeySize:]
	for b = b[:len(b)-len(list)]; len(list) > 0; list = list[currentKeySize:] {
		c.nameless[segment.Key(list)] = le.Uint64(list[len(segment.Key{}):])
	}
	return c, c.parsePins(b, int(pins), bad)
}

// parseRow parses a segment at the beginning of b, and returns what follows it; s is nil if there is none.
func parseRow(b []byte, number uint64) (s *logSegment, rest []byte) {
	le := binary.LittleEndian
	if len(b) < currentRowSize || uint64(len(b)-currentRowSize) < currentIndexSize*uint64(le.Uint32(b[32:])) {
		return nil, nil
	}
	s = &logSegment{
		File:       segment.File{Number: number, Size: int64(le.Uint32(b[16:])), Salt: le.Uint32(b[28:])},
		generation: le.Uint64(b), sealedAt: int64(le.Uint64(b[8:])), tail: int64(le.Uint32(b[20:])), hole: int64(le.Uint32(b[24:])),
	}
	s.abandoned.Store(le.Uint32(b[36:])&flagAbandoned != 0)
	n := le.Uint32(b[32:])
	for b = b[currentRowSize:]; n > 0; n-- {
		x := &index{Index: segment.Index{Offset: le.Uint32(b), Rooms: le.Uint32(b[4:])}}
		if x.Rooms == 0 {
			return nil, nil
		}
		s.indexes, b = append(s.indexes, x), b[currentIndexSize:]
	}
	return s, b
}

func (c *current) parsePins(b []byte, n int, bad error) error {
	le := binary.LittleEndian
	for range n {
		if len(b) < pinHeader || uint64(len(b)) < pinHeader+uint64(le.Uint32(b[16:])) {
			return bad
		}
		end := pinHeader + int(le.Uint32(b[16:]))
		who, ok := segment.ParseNames(string(b[pinHeader:end]))
		if !ok {
			return bad
		}
		c.pins = append(c.pins, pin{id: who, segment: le.Uint64(b), last: le.Uint64(b[8:])})
		b = b[end:]
	}
	if len(b) > 0 {
		return bad
	}
	return nil
}

// readCurrent reads CURRENT; c is nil if there is none or it is damaged. b is the content of the file, even if it is damaged.
func (d *directory) readCurrent() (c *current, b []byte, err error) {
	path := d.file(currentName)
	size, err := d.fs.Size(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, failure("looking for "+currentName, err)
	}
	f, err := d.fs.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, nil, failure("opening "+currentName, err)
	}
	defer f.Close()
	b = make([]byte, min(size, maxCurrent))
	for at := 0; at < len(b); at += currentPage { // page by page, so that a sector that cannot be read costs one copy only
		page := b[at:min(at+currentPage, len(b))]
		if n, failed := f.ReadAt(page, int64(at)); n < len(page) {
			clear(page)
			err = cmp.Or(err, failure("reading "+currentName, errors.Join(errShort, failed)))
		}
	}
	c, damaged, failed := parseCurrent(b)
	if failed != nil {
		if errors.Is(failed, ErrCorrupt) && err != nil { // the file may be whole
			failed = err
		}
		return nil, b, failed
	}
	if damaged {
		d.logger.Error("commit log: one of the two copies in CURRENT is damaged; the other one is used", "file", path)
	}
	return c, b, nil
}

// writeCurrent replaces CURRENT. After an error the file is the old one or the new one.
func (d *directory) writeCurrent(c *current) error {
	return d.replace(currentName, func(f vfs.File) error { _, err := f.WriteAt(c.file(), 0); return err })
}
