package room

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

// The scrub is a host's work in the background: it reads the files of all rooms and compares the checksums of their
// pages. So the operator learns of a page that the disk has changed while there is still a backup from before the
// change. ZFS and Ceph do the same. Den takes three things from them: one reader with a bounded rate, pauses that grow
// when the disk is slow (ZFS's scrub priority, Ceph's osd_scrub_sleep), and a period in which everything is read
// (Ceph's osd_deep_scrub_interval).
//
// The time says which files are read, so no position is stored. The rooms of a namespace are spread over 256
// directories by a hash of their names. A period has 257 turns. In each turn the host reads the next directory of all
// namespaces. Because there is one turn more than there are directories, each directory is read at another time of day in
// each period. A host that is started again begins with the directory whose turn it is. If a directory takes longer
// than its turn, the next ones are read later.
//
// The scrub does not wake a room. While the host reads a piece of a sleeping room's file, it reserves the file (see
// fileUses), and a room that wakes waits for the end of the piece. A room that is awake reads its own file, one piece
// in a turn, and this does not keep it awake. If the file is in use otherwise, the host tries again after the pause, and
// goes on with the next file when the directory's turn is over.

const (
	// scrubRate is how many bytes are read in a second at most.
	scrubRate = 4 << 20
	// scrubPiece is how many bytes storage.Scrub reads.
	scrubPiece = 64 << 10
	// scrubPause is the time from one piece to the next at least.
	scrubPause = scrubPiece * time.Second / scrubRate
	// scrubPart limits reading to one part in so many of the time.
	scrubPart = 10
	// scrubFirst is how long after its start a host begins.
	scrubFirst = time.Minute
	// scrubTurns is how many turns a period has.
	scrubTurns = scrubDirs + 1
	scrubDirs  = 256
)

// A scrubber reads the files of a host's rooms. The zero value with a node is ready to use. A timer calls next, which sets the timer
// again, or has a room do so.
type scrubber struct {
	node    *node
	damaged atomic.Uint64 // see Host.Damaged

	work sync.Mutex // held while the host reads; it protects what follows

	turn  int64         // the next one, counted from 1970 on
	files []Key         // the files of the turn before, as far as they are still to be read
	piece *scrubMessage // the last piece that was read of the first file; nil if there is none
}

// A scrubMessage asks a room that is awake to check a piece of its file.
type scrubMessage struct {
	from  int64
	awake bool

	// The result, which the actor writes before it answers.

	next int64
	err  error
}

// errScrubLater says that the file could not be read now.
var errScrubLater = errors.New("the file is in use")

// start sets the timer for the first time.
func (s *scrubber) start() {
	if s.node.opts.ScrubEvery > 0 {
		s.turn = s.turnAt(s.node.now())
		s.later(scrubFirst)
	}
}

// length returns the length of a turn.
func (s *scrubber) length() time.Duration {
	return max(s.node.opts.ScrubEvery/scrubTurns, time.Millisecond)
}

func (s *scrubber) turnAt(t time.Time) int64 { return t.UnixNano() / int64(s.length()) }

func (s *scrubber) later(d time.Duration) { s.node.afterFunc(d, "scrubbing files", s.next) }

// next processes the result of the last piece, and reads the next one.
func (s *scrubber) next() {
	s.work.Lock()
	defer s.work.Unlock()
	if s.node.shutdown.stopping.Load() {
		return
	}
	began := s.node.now()
	from := s.result(began)
	if len(s.files) == 0 {
		now := s.turnAt(began)
		s.turn = min(max(s.turn, now-scrubDirs+1), now+1) // the clock may have been set
		if s.turn > now {
			s.later(time.Unix(0, s.turn*int64(s.length())).Sub(began))
			return
		}
		s.files = s.list(byte(s.turn))
		s.turn++
	}
	if len(s.files) == 0 {
		s.later(scrubPause)
		return
	}
	s.read(s.files[0], &scrubMessage{from: from}, began)
}

// result processes the result of the last piece, and returns the offset of the next piece of the first file.
func (s *scrubber) result(now time.Time) (from int64) {
	p := s.piece
	s.piece = nil
	switch {
	case p == nil:
		return 0
	case errors.Is(p.err, errScrubLater) && s.turnAt(now) < s.turn:
		return p.from
	case p.err != nil && !errors.Is(p.err, errScrubLater):
		s.report(s.files[0], p)
	case p.err == nil && p.next > 0:
		return p.next
	}
	s.files = s.files[1:]
	return 0
}

// report tells the operator of a file with a damaged page, or one that cannot be read.
func (s *scrubber) report(key Key, p *scrubMessage) {
	const event = "the scrub has found a fault in a room's file"
	if errors.Is(p.err, storage.ErrCorrupt) {
		s.damaged.Add(1)
	}
	if p.awake { // the room goes on
		s.node.complain(key, event, p.err)
		return
	}
	s.node.report(key, event, p.err)
}

// list returns the rooms whose files are in one of the 256 directories, of all namespaces.
func (s *scrubber) list(sum byte) (keys []Key) {
	for _, namespace := range s.node.namespaceNames() {
		found, err := roomfile.In(s.node.opts.FS, s.node.opts.Dir, namespace, sum)
		for _, file := range found {
			key, failed := s.node.roomOf(namespace, file)
			if failed == nil {
				keys = append(keys, key)
			}
			err = errors.Join(err, failed)
		}
		if err != nil {
			s.node.opts.Logger.Error("files of rooms were not scrubbed", "namespace", namespace, "err", err)
		}
	}
	return keys
}

// read checks a piece of a room's file, and sets the timer.
func (s *scrubber) read(key Key, p *scrubMessage, began time.Time) {
	s.piece = p
	err := s.node.actors.SendAwake(key, p, func(_ any, err error) { // it does not lock s.work, which a caller that waits for the room may hold
		if p.awake = true; err != nil {
			p.err = errScrubLater
		}
		s.later(scrubPause)
	})
	if err == nil {
		return
	}
	if p.err = errScrubLater; errors.Is(err, actor.ErrAsleep) {
		p.next, p.err = s.readAsleep(key, p.from)
	}
	s.later(max(scrubPause, (scrubPart-1)*s.node.now().Sub(began)))
}

// readAsleep checks a piece of the file of a room that has no life.
func (s *scrubber) readAsleep(key Key, from int64) (next int64, err error) {
	end, held := s.node.fileUses.try(key, nil)
	if !held {
		return 0, errScrubLater
	}
	defer end()
	if s.node.actors.Has(key) {
		return 0, errScrubLater
	}
	o, err := s.node.fileOptions(key)
	if err == nil {
		err = protect(func() error { next, err = storage.ScrubFile(o, from); return err })
	}
	return next, err
}
