package room

import (
	"errors"
	"fmt"
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// sync answers a client that asks for a channel's rows: all live ones, or those that
// changed since a cursor or a time that it names. next is what is to be asked for the
// rest, nil where there is none.
func (t *turn) sync(m *syncMessage) (next *syncMessage, err error) {
	if !slices.Contains(t.life.ns.channels, m.channel) {
		return nil, unknownChannel()
	}
	if t.gone(m) || !t.inquire(m) {
		return nil, nil
	}
	if t.life.quota.Spent() && !t.shared(m) {
		return m, t.notePutOff(m)
	}
	if m.since == syncproto.SinceFrom && !m.byID {
		next, err = t.syncStock(m)
	} else {
		next, err = t.syncByID(m)
	}
	if next == nil {
		t.life.answered(m)
	}
	if err != nil {
		err = t.storageError(err)
		if m.unasked && !passing(err) { // its client does not ask again
			t.letGo(m.conn, m.channel)
		} else {
			t.notAnswered(m.conn, m.channel)
		}
		return nil, err
	}
	return next, nil
}

// shared reports whether the next step of an answer has been read for another client.
func (t *turn) shared(m *syncMessage) bool {
	if m.since == syncproto.SinceCursor && !m.going || m.since == syncproto.SinceFrom && !m.byID {
		return false
	}
	_, there := t.life.pages.get(m.channel, t.life.db.Seq(), m.after)
	return there
}

// syncByID answers with the rows by id, a step a turn, or with what has changed since a cursor.
func (t *turn) syncByID(m *syncMessage) (next *syncMessage, err error) {
	if !m.byID { // the published client sends no cursor
		t.endUnasked(m.conn, m.channel)
		if err := t.releaseAll(m.conn, m.channel); err != nil {
			return nil, err
		}
	}
	frames, next, err := t.answerSync(m)
	if err != nil {
		return nil, err
	}
	switch {
	case !m.byID:
		for _, r := range t.unhold(m.conn, m.channel) { // what was kept back is in the answer, or follows it
			frames = append(frames, r.bare)
		}
		err = t.unsubscribe(m.conn, m.channel)
	case next == nil:
		return nil, t.finish(m, frames, 0)
	case !m.going:
		err = t.subscribe(m.conn, m.channel, unanswered)
	}
	if err != nil {
		return nil, err
	}
	t.send(m.conn, frames...)
	return next, nil
}

// answerSync gives the next frames of an answer, and what is to be asked for the rest.
func (t *turn) answerSync(m *syncMessage) (frames []*hibernate.Frame, next *syncMessage, err error) {
	switch {
	case m.going:
	case m.byID:
		frames = m.front()
	case m.since == syncproto.SinceCursor:
		changed, next, why, err := t.changesSince(m)
		if why == "" || err != nil {
			return changed, next, err
		}
		if !bug.On("reset-flag") {
			frames = []*hibernate.Frame{reset(m.channel, why)}
		}
		if why == syncproto.ResetSize {
			t.life.quota = t.life.newQuota() // what was read is of no use, and the first page comes at once
		}
	}
	m.inquiry.copies = true
	s, err := t.snapshot(m.channel, m.after)
	if err != nil {
		return nil, nil, err
	}
	if !s.done {
		rest := *m
		rest.going, rest.after = true, s.last
		next = &rest
	}
	return append(frames, s.frames...), next, nil
}

// The answer to a sync by a cursor, where that can be told: what has changed since, a piece a turn.
//
// The answer is exact at the last piece's commit although others write meanwhile. It has each row that had changed when
// the answer began, as the row is when it is read; and from then on every change goes to this connection as to all others, in
// order. A row that has changed meanwhile is left out, unless so many have that they cannot be told soon. What is remembered between two pieces is a place in the log of changes. Where the log no longer has that place,
// or the answer gets longer than a channel that is sent from scratch should be, a delete-all and every live row follow.

// errOffTrail: the room cannot go on from a trail.
var errOffTrail = errors.New("room: the place in the history is lost")

// changesSince gives the next piece of the answer to a cursor: rows and tombstones in the order of their last
// changes, and what is to be asked for the rest. Where it cannot be told what has changed, why says so.
func (t *turn) changesSince(m *syncMessage) (frames []*hibernate.Frame, next *syncMessage, why syncproto.Reset, err error) {
	l := t.life
	on := m.trail
	switch {
	case on != nil:
	case m.replaces:
		return nil, nil, syncproto.ResetSize, nil
	case m.cursor.Epoch != l.shortEpoch():
		return nil, nil, syncproto.ResetEpoch, nil
	case m.cursor.Seq > uint64(l.db.Seq()):
		return nil, nil, syncproto.ResetAhead, nil
	default:
		on = &trail{epoch: l.shortEpoch(), place: storage.ChangePlace{Seq: storage.Seq(m.cursor.Seq)}, until: l.db.Seq()}
	}
	changed, to, done, err := t.follow(m.channel, *on)
	switch {
	case errors.Is(err, errOffTrail) && m.trail != nil && m.trail.sent > 0:
		frames, next = m.startAgain()
		return frames, next, "", nil
	case errors.Is(err, storage.ErrForgotten):
		return nil, nil, syncproto.ResetFloor, nil
	case errors.Is(err, errOffTrail):
		return nil, nil, syncproto.ResetSize, nil
	case err != nil:
		return nil, nil, "", err
	case done:
		return changed.SyncFrames(m.channel, l.cursor()), nil, "", nil
	}
	rest := *m
	rest.trail = &to
	return changed.PartFrames(m.channel, l.cursor()), &rest, "", nil
}

// follow reads what changed after a trail, as much as the turn may. done says that it was all.
func (t *turn) follow(channel string, on trail) (changed *pages.Pager, to trail, done bool, err error) {
	l := t.life
	if on.epoch != l.shortEpoch() {
		return nil, on, false, errOffTrail
	}
	changed = new(pages.Pager)
	done, err = l.readChanges(channel, &on.place, on.until, changed.Add)
	if errors.Is(err, storage.ErrForgotten) {
		return nil, on, false, errors.Join(errOffTrail, err)
	}
	if err != nil {
		return nil, on, false, err
	}
	on.sent += changed.Total
	if on.sent > l.host.opts.MaxSnapshotBytes {
		return nil, on, false, errOffTrail
	}
	return changed, on, done, nil
}

// startAgain goes on with every live row, in an answer that has told what has changed so far. A client that was told nothing
// yet would take no notice of the delete-all: it gets a reset instead.
func (m *syncMessage) startAgain() (frames []*hibernate.Frame, next *syncMessage) {
	rest := *m
	rest.trail, rest.going, rest.after = nil, true, nil
	m.inquiry.copies = true
	return []*hibernate.Frame{deleteAll(m.channel, "")}, &rest
}

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
	last   storage.Value // the id of its last row: the next step begins after it
	done   bool          // it is the last step
}

// snapshot gives the step of a channel's snapshot that begins after an id; nil is the
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
	rows, err := l.db.Table(channel).Page(after, snapshotRows)
	if err != nil {
		return step{}, err
	}
	var live pages.Pager
	n, more, err := l.quota.Read(rows, func(rows *storage.Rows) int {
		s.last = rows.Value(0)
		if pages.IsGone(rows) {
			return 0
		}
		return live.Add(rows)
	})
	if err != nil {
		return step{}, err
	}
	s.size = live.Total
	if s.done = more && n < snapshotRows; s.done {
		s.frames = live.SyncFrames(channel, l.cursor())
	} else {
		s.frames = live.PartFrames(channel, l.cursor())
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
