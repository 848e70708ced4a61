package room

import (
	"fmt"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
)

// A channel of any size is sent in steps, by id, one step a turn, and the room serves
// others between them. The next step is a message like any other, which the connection's
// session posts when it has the last one's answer; so it is one of the connection's
// messages in work, is tried again where the room fails, and ends with the session.
//
// The whole is exact at the last step's commit although others write meanwhile: each
// page shows its rows as they are when it is read, and from then on every change of them
// goes to this connection as to all others, in order. A row behind the pages that have
// been read is read as it is by then. So of each row the client has at last what the
// room has; a row that changes while it is read may come to it twice.

const (
	// snapshotRows is how many rows are looked at with one query.
	snapshotRows = 20_000
	// maxCachedPages is how much of one snapshot a room keeps encoded, in bytes.
	maxCachedPages = 4 << 20
)

// A step is a part of a snapshot.
type step struct {
	frames []*hibernate.Frame
	size   int
	last   storage.Value // the id of its last row: the next step begins behind it
	done   bool          // it is the last step
}

// snapshot gives the step of a channel's snapshot that begins behind an id; nil is the
// beginning. One that was read for another client costs nothing.
func (t *turn) snapshot(channel string, after storage.Value) (step, error) {
	l := t.life
	if s, there := l.pages.get(channel, l.db.Seq(), after); there {
		return s, nil
	}
	s, err := t.readStep(channel, after)
	if err == nil {
		l.pages.put(channel, l.db.Seq(), after, s)
	}
	return s, err
}

func (t *turn) readStep(channel string, after storage.Value) (s step, err error) {
	l := t.life
	rows, err := l.db.Page(channel, after, snapshotRows)
	if err != nil {
		return step{}, err
	}
	var live pager
	n, more, err := l.quota.read(rows, func(rows *storage.Rows) int {
		s.last = rows.Value(0)
		if isGone(rows) {
			return 0
		}
		return live.add(rows)
	})
	if err != nil {
		return step{}, err
	}
	s.size = live.total
	if s.done = more && n < snapshotRows; s.done {
		s.frames = live.syncFrames(channel, l.cursor())
	} else {
		s.frames = live.partFrames(channel, l.cursor())
	}
	return s, nil
}

// A pageCache keeps the encoded snapshot of one channel, or its beginning, as long as the
// room does not change, so that many clients that come at once share one encoding and
// its memory.
type pageCache struct {
	channel string
	seq     storage.Seq
	size    int
	steps   map[string]step // by where they begin
}

func (p *pageCache) get(channel string, seq storage.Seq, after storage.Value) (s step, there bool) {
	if p.channel != channel || p.seq != seq {
		return step{}, false
	}
	s, there = p.steps[stepName(after)]
	return s, there
}

func (p *pageCache) put(channel string, seq storage.Seq, after storage.Value, s step) {
	if p.channel != channel || p.seq != seq || p.steps == nil {
		*p = pageCache{channel: channel, seq: seq, steps: make(map[string]step)}
	}
	if p.size+s.size <= maxCachedPages {
		p.size += s.size
		p.steps[stepName(after)] = s
	}
}

func stepName(after storage.Value) string { return fmt.Sprintf("%T %v", after, after) }

// drained tells whether a link has so little waiting that the next step may follow. A
// link that cannot say how much waits takes all.
func drained(link hibernate.Link) bool {
	queue, says := link.(interface{ Waiting() int })
	return !says || queue.Waiting() <= 3*readBytes
}
