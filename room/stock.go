package room

import (
	"errors"
	"math"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// Answers for the published client of partysync, which knows no cursors. It stores every row of every
// frame in its browser at once, in one store for all rooms, shows what is stored when its page is
// loaded, and asks then for what has changed since the newest stamp in that store.
//
//   - A channel of up to wholeAnswer goes out as one frame, in the order in which its rows were
//     created, which is the order in which the page shows them. A frame is stored whole or not
//     at all, so a page that is closed meanwhile is left with no gap.
//   - A larger one goes by ascending stamp, see room/internal/pages.
//   - Whose store has another room's rows gets a delete-all and everything: it asks from a stamp that this
//     room did not give out. A channel of up to smallChannel is always sent like that, because
//     a stamp proves little: once the newest row of the store is this room's, the others may
//     still be another's.

// smallChannel is up to where a channel is sent as a whole to whoever asks from a stamp, in bytes of JSON.
const smallChannel = syncproto.DefaultPageBytes

// syncStock answers a sync without a cursor; next is what is to be asked for the rest.
func (an *answers) syncStock(t *turn, m *syncMessage) (next *syncMessage, err error) {
	an.holds.answering(m.conn, m.channel)
	switch {
	case m.glean != nil:
		return an.gleanOn(t, m)
	case m.list != nil:
		return an.listOn(t, m)
	}

	g, ready, err := an.reader.gather(m.channel)
	if err != nil {
		return nil, err
	}
	if m.from != nil && !m.reset && g.size > min(smallChannel, an.room.wholeAnswer()) {
		if known, next, err := an.changesFrom(t, m); known || err != nil {
			return next, err
		}
	}
	if ready && !g.over && !g.large {
		frames := m.front()
		switch {
		case !m.unasked:
			frames = append(frames, g.answer(an.room.cursor()))
		case len(g.rows) > 0:
			frames = append(frames, g.update())
		}
		return nil, an.finish(t, m, frames, 0)
	}
	if err := an.peers.noteAnswer(t, m, unanswered); err != nil {
		return nil, err
	}
	rest := *m
	switch {
	case !ready:
	case g.over && m.unasked:
		return nil, pages.ErrTooLarge
	case g.over:
		rest.byID = true
	default:
		rest.list = &listing{epoch: an.room.shortEpoch(), at: g.at, rows: g.rows}
		t.send(m.conn, m.front()...)
	}
	return &rest, nil
}

// front is what comes before everything.
func (m *syncMessage) front() []*hibernate.Frame {
	if m.from == nil && !m.reset {
		return nil
	}
	return []*hibernate.Frame{deleteAll(m.channel, "")}
}

// finish sends the last frames of an answer. Until it is confirmed the client is taken to have the channel
// as of the commit since.
func (an *answers) finish(t *turn, m *syncMessage, frames []*hibernate.Frame, since storage.Seq) error {
	if err := an.peers.noteAnswer(t, m, int64(since)); err != nil {
		return err
	}
	t.send(m.conn, frames...)
	an.peers.awaitConfirmation(t, m.conn)
	return an.holds.endHold(t, m.conn, m.channel)
}

// listOn sends the next rows of a large channel, by ascending stamp. What has changed since the listing was made
// comes at the end.
func (an *answers) listOn(t *turn, m *syncMessage) (next *syncMessage, err error) {
	rest := *m
	if m.list.epoch != an.room.shortEpoch() {
		return an.startOver(m), nil
	}
	o := pages.Ordered{Limit: math.MaxInt}
	for more, n := true, firstPick; more && rest.next < len(m.list.rows); {
		some, before := m.list.rows[rest.next:min(rest.next+n, len(m.list.rows))], o.Total
		if more, err = an.reader.pick(m.channel, m.list, some, &o); err != nil {
			return nil, err
		}
		rest.next += len(some)
		n = nextPick(len(some), o.Total-before, an.reader.quota.Left())
	}
	o.Sort()
	encode := o.PagesWithMore
	if m.unasked || m.next < m.list.gone { // the published client looks for tombstones in updates only
		encode = o.Pages
	}
	t.send(m.conn, encode(m.channel, an.room.cursor())...)
	if rest.next < len(m.list.rows) || an.reader.quota.Spent() {
		return &rest, nil
	}
	frames, soon, err := an.changesSinceListing(m)
	switch {
	case errors.Is(err, storage.ErrForgotten):
		return an.startOver(m), nil
	case err != nil:
		return nil, err
	case !soon: // they are many, and go as the listing went
		return an.gleanAfter(m, m.list.at), nil
	}
	return nil, an.finish(t, m, frames, m.base)
}

// startOver is the sync that a large channel begins again with, from a listing that is new.
func (an *answers) startOver(m *syncMessage) *syncMessage {
	if g := an.reader.gathered[m.channel]; g != nil && g.at <= m.list.at {
		delete(an.reader.gathered, m.channel)
	}
	rest := *m
	rest.list, rest.next, rest.reset, rest.from, rest.base = nil, 0, true, nil, 0
	return &rest
}

// changesSinceListing ends the answer of a large channel. soon is false where there is more than a turn reads.
func (an *answers) changesSinceListing(m *syncMessage) (frames []*hibernate.Frame, soon bool, err error) {
	changed, soon, err := an.reader.changedSoon(m.channel, m.list.at, an.room.db.Seq())
	if err != nil || !soon {
		return nil, false, err
	}
	if m.unasked {
		frames, err = changed.Updates(m.channel, "")
	} else {
		frames, err = changed.Answer(m.channel, an.room.cursor())
	}
	return frames, true, err
}

// changesFrom answers a sync from a stamp with what has changed since; next is what is to be asked for the rest. known is false
// where the room cannot place the stamp.
func (an *answers) changesFrom(t *turn, m *syncMessage) (known bool, next *syncMessage, err error) {
	since, known := an.room.db.Table(m.channel).SeqAt(m.from)
	if !known {
		return false, nil, nil
	}
	changed, soon, err := an.reader.changedSoon(m.channel, since, an.room.db.Seq())
	if errors.Is(err, storage.ErrForgotten) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	if !soon {
		rest := *m
		rest.base = since
		return true, an.gleanAfter(&rest, since), nil
	}
	frames, err := changed.Answer(m.channel, an.room.cursor())
	if err != nil {
		return false, nil, err
	}
	return true, nil, an.finish(t, m, frames, since)
}

// What a client without cursors lacks, where it is more than a turn reads. The published client must get it by ascending stamp,
// see room/internal/pages. So the changes are gleaned first, a piece a turn: ids, stamps, and tombstones. Then they are a
// listing, which is sent as that of a large channel is, a piece a turn; and what has changed meanwhile follows in the same
// way, until it is little enough for one turn. Where there are too many, every live row follows after a delete-all.

// gleanAfter is the sync that goes on with what has changed after a commit.
func (an *answers) gleanAfter(m *syncMessage, since storage.Seq) *syncMessage {
	rest := *m
	rest.list, rest.next = nil, 0
	rest.glean = &gleaning{epoch: an.room.shortEpoch(), place: storage.ChangePlace{Seq: since}, until: an.room.db.Seq()}
	return &rest
}

// gleanOn reads the next changes.
func (an *answers) gleanOn(t *turn, m *syncMessage) (next *syncMessage, err error) {
	g := *m.glean
	if g.epoch != an.room.shortEpoch() {
		return an.everything(m), nil
	}
	if !g.begun {
		if err := an.peers.noteAnswer(t, m, unanswered); err != nil {
			return nil, err
		}
		g.begun = true
	}
	done, err := an.reader.readChanges(m.channel, &g.place, g.until, g.add)
	switch {
	case errors.Is(err, storage.ErrForgotten):
		return an.everything(m), nil
	case err != nil:
		return nil, err
	case len(g.rows) > gleanMost:
		return an.everything(m), nil
	}
	rest := *m
	if rest.glean = &g; done {
		rest.glean, rest.list, rest.next = nil, g.listing(), 0
	}
	return &rest, nil
}

// everything is the sync that gives up on the changes.
func (an *answers) everything(m *syncMessage) *syncMessage {
	rest := *m
	rest.glean, rest.list, rest.next, rest.reset, rest.from, rest.base = nil, nil, 0, true, nil, 0
	return &rest
}

// answers are those to clients who ask for a channel's rows.
type answers struct {
	room      *room
	holds     *holds
	peers     *peers
	inquiries *inquiries
	reader    *reader
	publisher *publisher
}
