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

// sync answers a client that asks for a channel's rows: all live ones, or those that have changed since a cursor or a
// stamp. next is the sync that asks for the rest, nil if there is none.
func (an *answers) sync(t *turn, m *syncMessage) (next *syncMessage, err error) {
	if !slices.Contains(an.room.ns.channels, m.channel) {
		return nil, unknownChannel()
	}
	if an.gone(m) || !an.syncs.begin(t, m) {
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
		an.syncs.answered(m)
	}
	if err != nil {
		err = t.storageError(err)
		if m.unasked && !passing(err) { // the client does not ask again
			an.endHold(t, m.conn, m.channel)
		} else {
			an.holds.answerFailed(m.conn, m.channel)
		}
		return nil, err
	}
	return next, nil
}

// shared reports whether the next step of an answer has already been read for another client.
func (an *answers) shared(m *syncMessage) bool {
	if m.since == syncproto.SinceCursor && !m.going || m.since == syncproto.SinceFrom && !m.byID {
		return false
	}
	_, there := an.reader.pages.get(m.channel, an.room.db.Seq(), m.after)
	return there
}

// syncByID answers with the rows by id, one step a turn, or with what has changed since a cursor.
func (an *answers) syncByID(t *turn, m *syncMessage) (next *syncMessage, err error) {
	if !m.byID { // the published client sends no cursor
		an.syncs.endUnasked(t, m.conn, m.channel)
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
		for _, r := range an.holds.remove(t, m.conn, m.channel) { // what was kept back is in the answer, or follows it
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

// answerSync returns the next frames of an answer, and the sync that asks for the rest.
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
			an.reader.quota = an.reader.newQuota() // what was read is of no use, and the first page follows at once
		}
	}
	m.pending.copies = true
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

// The answer to a sync with a cursor: what has changed since, one piece a turn, if the change log still has that.
//
// The answer is exact as of the last piece's commit although others write meanwhile. It has each row that had changed
// when the answer began, as the row is when it is read. From then on the connection gets every change, like all
// others. A row that changes meanwhile is left out, unless so many have changed that this cannot be determined soon.
// Between two pieces the room remembers only a place in the change log. If the log no longer has that place, or if
// the answer gets longer than MaxSnapshotBytes, a delete-all and every live row follow.

// errScanLost says that a changeScan cannot go on.
var errScanLost = errors.New("room: the place in the history is lost")

// changesSince returns the next piece of the answer to a cursor, rows and tombstones in the order of their last
// changes, and the sync that asks for the rest. If the changes are not known, why is the reason.
func (an *answers) changesSince(m *syncMessage) (frames []*hibernate.Frame, next *syncMessage, why syncproto.Reset, err error) {
	on := m.scan
	switch {
	case on != nil:
	case m.replaces:
		return nil, nil, syncproto.ResetSize, nil
	case m.cursor.Epoch != an.room.shortEpoch():
		return nil, nil, syncproto.ResetEpoch, nil
	case m.cursor.Seq > uint64(an.room.db.Seq()):
		return nil, nil, syncproto.ResetAhead, nil
	default:
		on = &changeScan{epoch: an.room.shortEpoch(), place: storage.ChangePlace{Seq: storage.Seq(m.cursor.Seq)}, until: an.room.db.Seq()}
	}
	changed, to, done, err := an.scanChanges(m.channel, *on)
	switch {
	case errors.Is(err, errScanLost) && m.scan != nil && m.scan.sent > 0:
		frames, next = m.startAgain()
		return frames, next, "", nil
	case errors.Is(err, storage.ErrForgotten):
		return nil, nil, syncproto.ResetFloor, nil
	case errors.Is(err, errScanLost):
		return nil, nil, syncproto.ResetSize, nil
	case err != nil:
		return nil, nil, "", err
	case done:
		return changed.SyncFrames(m.channel, an.room.cursor()), nil, "", nil
	}
	rest := *m
	rest.scan = &to
	return changed.PartFrames(m.channel, an.room.cursor()), &rest, "", nil
}

// scanChanges reads as much as the turn may of what changed after a scan's place. done says that nothing is left.
func (an *answers) scanChanges(channel string, on changeScan) (changed *pages.Pager, to changeScan, done bool, err error) {
	if on.epoch != an.room.shortEpoch() {
		return nil, on, false, errScanLost
	}
	changed = new(pages.Pager)
	done, err = an.reader.readChanges(channel, &on.place, on.until, changed.Add)
	if errors.Is(err, storage.ErrForgotten) {
		return nil, on, false, errors.Join(errScanLost, err)
	}
	if err != nil {
		return nil, on, false, err
	}
	on.sent += changed.Total
	if on.sent > an.room.node.opts.MaxSnapshotBytes {
		return nil, on, false, errScanLost
	}
	return changed, on, done, nil
}

// startAgain continues with every live row an answer that has already sent changes. A client that has been sent
// nothing yet would ignore the delete-all; it gets a reset instead.
func (m *syncMessage) startAgain() (frames []*hibernate.Frame, next *syncMessage) {
	rest := *m
	rest.scan, rest.going, rest.after = nil, true, nil
	m.pending.copies = true
	return []*hibernate.Frame{deleteAll(m.channel, "")}, &rest
}

// gone reports whether an unasked answer is for a connection that has left the room.
func (an *answers) gone(m *syncMessage) bool {
	return m.unasked && !slices.Contains(an.room.connections(), m.conn)
}

// notePutOff notes that a client without cursors has asked, because its answer has to wait for a later turn. If the
// client is cut off before, it gets the answer when it comes back.
func (an *answers) notePutOff(t *turn, m *syncMessage) error {
	asked := m.pending
	if m.since != syncproto.SinceFrom || m.going || asked.noted {
		return nil
	}
	asked.noted = true
	t.undo = append(t.undo, func() { asked.noted = false })
	return an.peers.noteAnswer(t, m, unanswered)
}
