package commitlog

// Segments: the log's files, the one that is written and those that are done.

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/denrooms/den/storage/vfs"
)

const (
	segmentMagic   = "DenLog\x00\x00"
	segmentVersion = 3
	segmentHeader  = 88
	segmentStart   = 1536 // of the records: the header and the two hints have a sector each
	segmentSuffix  = ".log"
)

// segment is a file that is done.
type segment struct {
	number  uint64
	salt    uint32 // the checksum of its header, with which those of its records begin
	size    int64
	tail    int64    // where its records end
	hole    int64    // where they go on behind the last one whose room is not known; 0: there is none
	indexes []*index // oldest first; a room's newest place in it is in the newest that has the room
	newest  int64    // when it was done, by the log's clock

	generation uint64 // that has begun it

	lost   bool                   // the file was not there when the log was opened
	given  atomic.Bool            // what is missing or damaged of it was given up
	pins   int                    // rooms that have unreleased entries here; protected by Log.mu
	survey atomic.Pointer[survey] // what was found by reading it, because an index is damaged; nil: not needed so far
}

// rooms is how many its indexes have, some more than once.
func (s *segment) rooms() (n int) {
	for _, x := range s.indexes {
		n += int(x.rooms)
	}
	return n
}

// missing tells whether rooms may need what was in the file, and it is not there.
func (s *segment) missing() bool { return s.lost && !s.given.Load() }

// place is what a segment holds of a room. It is small: the segment that is written has one in
// memory for each room that wrote to it, asleep or not. The names are in the file, at root.
type place struct {
	key         key
	first, last uint64 // numbers of the newest run without a gap; first is 0 where it was not read
	at          uint32 // offset of the last record
	crc         uint32 // of the last record
	root        uint32 // offset of the run's first record, which has the names
	starts      bool   // the run starts a chain: what is before it is none of its
}

// places are what a segment holds, by room.
type places struct {
	of    map[key]*place
	fresh []place // to be used: they are allocated some at a time
}

const placesAtOnce = 128

// get is a room's place, which is made if there is none.
func (s *places) get(k key) *place {
	p := s.of[k]
	if p == nil {
		if len(s.fresh) == 0 {
			s.fresh = make([]place, placesAtOnce)
		}
		p, s.fresh = &s.fresh[0], s.fresh[1:]
		p.key = k
		s.of[k] = p
	}
	return p
}

// active is the segment that is written. Whoever leads owns it; end, index, touched, entries and
// bad are changed under Log.mu, so that they can be read under it too.
type active struct {
	*segment
	file    vfs.File
	end     int64  // where the next record goes; all before it was acknowledged
	synced  int64  // how much of it is durable
	zeroed  int64  // how far zeros were written ahead
	zeros   int64  // how many more to write next
	full    int64  // about where the segment ends: no zeros are written behind
	blank   []byte // zeros, which are the log's
	chain   uint32 // checksum of the last record
	entries uint64
	index   places

	part    int64    // what lies behind it is in no index yet
	touched []*place // of rooms that have entries there
	indexed uint32   // offset of the newest index's record; 0: none
	hints   int      // hints written

	bad  bool // a sync failed: the file is to be written anew
	done bool // it is sealed, and the next one could not be begun yet
}

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

// segmentNumber is the opposite of segmentName.
func segmentNumber(name string) (uint64, bool) {
	if len(name) != 16+len(segmentSuffix) || name[16:] != segmentSuffix {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:16], 16, 64)
	return n, err == nil && n > 0 && segmentName(n) == name
}

func (l *Log) path(number uint64) string { return filepath.Join(l.o.Dir, segmentName(number)) }

// encode makes a segment's header.
func (h *head) encode() []byte {
	b, le := make([]byte, segmentHeader), binary.LittleEndian
	copy(b, segmentMagic)
	le.PutUint32(b[8:], segmentVersion)
	if h.relaxed {
		le.PutUint32(b[12:], flagRelaxed)
	}
	copy(b[16:], h.id[:])
	for i, v := range []uint64{h.number, h.generation, uint64(h.begun), h.first, h.floor, h.unsynced} {
		le.PutUint64(b[32+8*i:], v)
	}
	le.PutUint32(b[segmentHeader-4:], sum(0, b[:segmentHeader-4]))
	return b
}

// checkSegmentHeader checks the header of a segment of this log and returns its salt.
func checkSegmentHeader(b []byte, id [16]byte, number uint64) (salt uint32, err error) {
	name, le := segmentName(number), binary.LittleEndian
	if len(b) < segmentHeader || string(b[:8]) != segmentMagic {
		return 0, corrupt(name, 0, "not the header of a segment")
	}
	salt = le.Uint32(b[segmentHeader-4:])
	whole := salt == sum(0, b[:segmentHeader-4])
	if old := le.Uint32(b[8:]) < segmentVersion && le.Uint32(b[60:]) == sum(0, b[:60]); whole || old {
		if err := checkVersion(name, le.Uint32(b[8:]), segmentVersion); err != nil {
			return 0, err
		}
	}
	switch {
	case !whole:
		return 0, corrupt(name, 0, "not the header of a segment")
	case [16]byte(b[16:32]) != id || le.Uint64(b[32:]) != number:
		return 0, corrupt(name, 0, "a segment of another log, or another segment of this one")
	}
	return salt, nil
}

// create makes the file of a segment, durable with its name. What may lie there from an
// attempt before was never named by CURRENT.
func (l *Log) create(number uint64) (a *active, err error) {
	path := l.path(number)
	h := head{
		id: l.id, number: number, generation: l.generation, begun: l.o.Now().UnixMilli(), first: number, floor: number,
		unsynced: l.unsynced, relaxed: l.o.Durability == Relaxed,
	}
	if l.active != nil || len(l.segments) > 0 {
		l.mu.Lock()
		h.first, h.floor = l.first(), l.floor()
		l.mu.Unlock()
	}
	if err := l.removeIfThere(path); err != nil {
		return nil, failure("removing "+segmentName(number), err)
	}
	f, err := l.o.FS.Open(path, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, failure("creating "+segmentName(number), err)
	}
	header := h.encode()
	zeros := min(firstZeros, l.o.segmentBytes(0))
	if l.active != nil { // a busy log begins as it has ended
		zeros = min(l.active.zeros, l.o.segmentBytes(0))
	}
	a = &active{
		segment: &segment{number: number, salt: binary.LittleEndian.Uint32(header[segmentHeader-4:]), generation: l.generation},
		file:    f, end: segmentStart, synced: segmentStart, zeroed: segmentStart, part: segmentStart, zeros: zeros,
		full:  l.o.segmentBytes(len(l.segments)),
		index: places{of: make(map[key]*place)}, blank: l.blank,
	}
	a.chain = a.salt
	if _, err = f.WriteAt(append(header, make([]byte, segmentStart-segmentHeader)...), 0); err == nil {
		a.fill()
		err = l.sync(f)
	}
	if err == nil {
		err = l.syncDir()
	}
	if err != nil {
		f.Close()
		return nil, failure("beginning "+segmentName(number), err)
	}
	return a, nil
}

// close closes the file, if it still is open.
func (a *active) close() {
	if a.file != nil {
		a.file.Close() // what had to be synced was
		a.file = nil
	}
}

// fill writes zeros ahead, so that the syncs to come have only content to write and no
// metadata of the file. Where it fails the file grows with each write instead.
func (a *active) fill() {
	for left := min(a.zeros, a.full-a.zeroed); left > 0; {
		n, err := a.file.WriteAt(a.blank[:min(left, int64(len(a.blank)))], a.zeroed)
		if a.zeroed += int64(n); err != nil {
			return
		}
		left -= int64(n)
	}
	a.zeros = min(2*a.zeros, mostZeros)
}

// reserve fills ahead where n bytes at the end want it.
func (a *active) reserve(n int64) {
	if a.end+n <= a.zeroed {
		return
	}
	a.zeroed = max(a.zeroed, a.end+n) // the record itself is written anyway
	a.fill()
}

// sync makes a file's content durable. After an error nothing is known of it, so the error is never
// one of a full disk.
func (l *Log) sync(f vfs.File) error {
	l.syncs.Add(1)
	return undecided(f.Sync())
}

// syncDir makes the names of the log's files durable; the error as that of sync.
func (l *Log) syncDir() error {
	l.syncs.Add(1)
	return undecided(l.o.FS.SyncDir(l.o.Dir))
}
