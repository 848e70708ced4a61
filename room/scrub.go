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

// The scrub: a host reads the files of all rooms in the background and compares the checksums of their pages, so that the operator hears
// of a page that the disk has changed while there is a backup from before that. ZFS and Ceph do the same. What is taken from them: one
// reader with a bounded rate, pauses that grow while the disk is slow (ZFS's priority of scrub reads, Ceph's osd_scrub_sleep), and a
// period after which everything was read (Ceph's osd_deep_scrub_interval).
//
// Which files are read when follows from the time, so no position has to be stored. The rooms of a namespace are spread over 256
// directories by a hash of their names. The period has 257 turns, and in each the host reads the next directory of all namespaces. As
// there is one turn more than directories, the turn of a directory comes at another time of day in each period. A host that is started
// again begins with the directory whose turn it is. If a directory takes longer than its turn, the following ones come later.
//
// A room that sleeps does not wake. The host reserves its file (see fileUses), so the room waits for a piece that is being read if
// it wakes just then. A room that is awake reads its own file, a piece in a turn, which does not keep it awake. If somebody else has
// the file, the host tries again after the pause, and goes on with the other files when the directory's turn has passed.

const (
	// scrubRate is how many bytes are read in a second at most.
	scrubRate = 4 << 20
	// scrubPiece is how many bytes storage.Scrub reads.
	scrubPiece = 64 << 10
	// scrubPause is the time from one piece to the next at least.
	scrubPause = scrubPiece * time.Second / scrubRate
	// scrubPart limits the time for reading to one part in so many.
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
	files []Key         // of the turn before that, still to be read
	piece *scrubMessage // what was read last of the first one; nil: nothing
}

// A scrubMessage has a room that is awake compare a piece of its file.
type scrubMessage struct {
	from  int64
	awake bool

	// What came of it. The actor writes it before it answers.

	next int64
	err  error
}

// errScrubLater: somebody else has the room's file.
var errScrubLater = errors.New("the file is in use")

// start sets the timer for the first time.
func (s *scrubber) start() {
	if s.node.opts.ScrubEvery > 0 {
		s.turn = s.turnAt(s.node.now())
		s.later(scrubFirst)
	}
}

// length is that of a turn.
func (s *scrubber) length() time.Duration {
	return max(s.node.opts.ScrubEvery/scrubTurns, time.Millisecond)
}

func (s *scrubber) turnAt(t time.Time) int64 { return t.UnixNano() / int64(s.length()) }

func (s *scrubber) later(d time.Duration) { s.node.afterFunc(d, "scrubbing files", s.next) }

// next takes note of the piece that was read, and reads another one.
func (s *scrubber) next() {
	s.work.Lock()
	defer s.work.Unlock()
	if s.node.shutdown.stopping.Load() {
		return
	}
	began := s.node.now()
	from := s.went(began)
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

// went sees to what came of the last piece, and returns where the first of files is to be read.
func (s *scrubber) went(now time.Time) (from int64) {
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
	if p.awake { // it goes on
		s.node.complain(key, event, p.err)
		return
	}
	s.node.report(key, event, p.err)
}

// list returns the rooms with a file in one of the 256 directories of each namespace.
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

// read has a piece of a room's file compared, and the timer set.
func (s *scrubber) read(key Key, p *scrubMessage, began time.Time) {
	s.piece = p
	err := s.node.actors.SendAwake(key, p, func(_ any, err error) { // s.work may be held by somebody who waits for the room
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

// readAsleep compares a piece of the file of a room that has no life.
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
