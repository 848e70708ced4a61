package room

import (
	"errors"
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
func (an *answers) sync(t *turn, m *syncMessage) (next *syncMessage, err error) {
	if !slices.Contains(an.room.ns.channels, m.channel) {
		return nil, unknownChannel()
	}
	if an.gone(m) || !an.inquiries.inquire(t, m) {
		return nil, nil
	}
	if an.reader.quota.Spent() && !an.shared(m) {
		return m, an.notePutOff(t, m)
	}
	if m.since == syncproto.SinceFrom && !m.byID {
		next, err = an.syncStock(t, m)
	} else {
		next, err = an.syncByID(t, m)
	}
	if next == nil {
		an.inquiries.answered(m)
	}
	if err != nil {
		err = t.storageError(err)
		if m.unasked && !passing(err) { // its client does not ask again
			an.letGo(t, m.conn, m.channel)
		} else {
			an.holds.notAnswered(m.conn, m.channel)
		}
		return nil, err
	}
	return next, nil
}

// shared reports whether the next step of an answer has been read for another client.
func (an *answers) shared(m *syncMessage) bool {
	if m.since == syncproto.SinceCursor && !m.going || m.since == syncproto.SinceFrom && !m.byID {
		return false
	}
	_, there := an.reader.pages.get(m.channel, an.room.db.Seq(), m.after)
	return there
}

// syncByID answers with the rows by id, a step a turn, or with what has changed since a cursor.
func (an *answers) syncByID(t *turn, m *syncMessage) (next *syncMessage, err error) {
	if !m.byID { // the published client sends no cursor
		an.inquiries.endUnasked(t, m.conn, m.channel)
		if err := an.releaseAll(t, m.conn, m.channel); err != nil {
			return nil, err
		}
	}
	frames, next, err := an.answerSync(m)
	if err != nil {
		return nil, err
	}
	switch {
	case !m.byID:
		for _, r := range an.holds.unhold(t, m.conn, m.channel) { // what was kept back is in the answer, or follows it
			frames = append(frames, r.bare)
		}
		err = an.peers.unsubscribe(t, m.conn, m.channel)
	case next == nil:
		return nil, an.finish(t, m, frames, 0)
	case !m.going:
		err = an.peers.subscribe(t, m.conn, m.channel, unanswered)
	}
	if err != nil {
		return nil, err
	}
	t.send(m.conn, frames...)
	return next, nil
}

// answerSync gives the next frames of an answer, and what is to be asked for the rest.
func (an *answers) answerSync(m *syncMessage) (frames []*hibernate.Frame, next *syncMessage, err error) {
	switch {
	case m.going:
	case m.byID:
		frames = m.front()
	case m.since == syncproto.SinceCursor:
		changed, next, why, err := an.changesSince(m)
		if why == "" || err != nil {
			return changed, next, err
		}
		if !bug.On("reset-flag") {
			frames = []*hibernate.Frame{reset(m.channel, why)}
		}
		if why == syncproto.ResetSize {
			an.reader.quota = an.reader.newQuota() // what was read is of no use, and the first page comes at once
		}
	}
	m.inquiry.copies = true
	s, err := an.reader.snapshot(m.channel, m.after)
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
func (an *answers) changesSince(m *syncMessage) (frames []*hibernate.Frame, next *syncMessage, why syncproto.Reset, err error) {
	on := m.trail
	switch {
	case on != nil:
	case m.replaces:
		return nil, nil, syncproto.ResetSize, nil
	case m.cursor.Epoch != an.room.shortEpoch():
		return nil, nil, syncproto.ResetEpoch, nil
	case m.cursor.Seq > uint64(an.room.db.Seq()):
		return nil, nil, syncproto.ResetAhead, nil
	default:
		on = &trail{epoch: an.room.shortEpoch(), place: storage.ChangePlace{Seq: storage.Seq(m.cursor.Seq)}, until: an.room.db.Seq()}
	}
	changed, to, done, err := an.follow(m.channel, *on)
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
		return changed.SyncFrames(m.channel, an.room.cursor()), nil, "", nil
	}
	rest := *m
	rest.trail = &to
	return changed.PartFrames(m.channel, an.room.cursor()), &rest, "", nil
}

// follow reads what changed after a trail, as much as the turn may. done says that it was all.
func (an *answers) follow(channel string, on trail) (changed *pages.Pager, to trail, done bool, err error) {
	if on.epoch != an.room.shortEpoch() {
		return nil, on, false, errOffTrail
	}
	changed = new(pages.Pager)
	done, err = an.reader.readChanges(channel, &on.place, on.until, changed.Add)
	if errors.Is(err, storage.ErrForgotten) {
		return nil, on, false, errors.Join(errOffTrail, err)
	}
	if err != nil {
		return nil, on, false, err
	}
	on.sent += changed.Total
	if on.sent > an.room.node.opts.MaxSnapshotBytes {
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

// gone reports whether an unasked answer is for a connection that has left the room.
func (an *answers) gone(m *syncMessage) bool {
	return m.unasked && !slices.Contains(an.room.connections(), m.conn)
}

// notePutOff notes that a client without cursors has asked, where its answer must wait for a later turn: if it is cut off
// before, it gets the answer when it comes back.
func (an *answers) notePutOff(t *turn, m *syncMessage) error {
	asked := m.inquiry
	if m.since != syncproto.SinceFrom || m.going || asked.noted {
		return nil
	}
	asked.noted = true
	t.undo = append(t.undo, func() { asked.noted = false })
	return an.peers.noteAnswer(t, m, unanswered)
}
