package room

import (
	"errors"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// The answer to a sync by a cursor, where that can be told: what has changed since, a piece a turn.
//
// The answer is exact at the last piece's commit although others write meanwhile. It has each row that had changed when
// the answer began, as the row is when it is read; and from then on every change goes to this connection as to all others, in
// order. A row that has changed meanwhile is left out, unless so many have that they cannot be told soon. What is remembered between two pieces is a place in the log of changes. Where the log no longer has that place,
// or the answer gets longer than a channel that is sent from scratch should be, a delete-all and every live row follow.

// A trail is how far the answer to a sync by a cursor has come.
type trail struct {
	epoch string
	place storage.ChangePlace
	until storage.Seq // the answer has what changed up to this commit
	sent  int         // bytes
}

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
		return changed.syncFrames(m.channel, l.cursor()), nil, "", nil
	}
	rest := *m
	rest.trail = &to
	return changed.partFrames(m.channel, l.cursor()), &rest, "", nil
}

// follow reads what changed behind a trail, as much as the turn may. done says that it was all.
func (t *turn) follow(channel string, on trail) (changed *pager, to trail, done bool, err error) {
	l := t.life
	if on.epoch != l.shortEpoch() {
		return nil, on, false, errOffTrail
	}
	changed = new(pager)
	done, err = l.readChanges(channel, &on.place, on.until, changed.add)
	if errors.Is(err, storage.ErrForgotten) {
		return nil, on, false, errors.Join(errOffTrail, err)
	}
	if err != nil {
		return nil, on, false, err
	}
	on.sent += changed.total
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
