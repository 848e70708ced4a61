package room

import (
	"errors"
	"math"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// Answers for the published client of partysync, which does not know cursors. The client stores every row of every
// frame in its browser at once, in one store for all rooms. When its page is loaded, it shows what is stored, and
// then asks for what has changed since the newest stamp in that store.
//
//  - A channel of up to wholeAnswer bytes is sent as one frame, in the order of the rows' creation, which is the order
//    in which the page shows them. The client stores a frame whole or not at all, so closing the page leaves no gap.
//  - A larger channel is sent by ascending stamp, see room/internal/pages.
//  - A client whose store has another room's rows asks from a stamp that this room did not give out. It gets a
//    delete-all and the whole channel. A channel of up to smallChannel bytes is always sent like that, because a stamp
//    proves little: the newest row of the store may be this room's and the others another's.

// smallChannel is the size up to which a channel is sent whole to a client that asks from a stamp, in bytes of JSON.
const smallChannel = syncproto.DefaultPageBytes

// syncStock answers a sync without a cursor. next is the sync that asks for the rest, nil if there is none.
func (an *answers) syncStock(t *turn, m *syncMessage) (next *syncMessage, err error) {
	an.holds.answerBegan(m.conn, m.channel)
	switch {
	case m.delta != nil:
		return an.continueDelta(t, m)
	case m.list != nil:
		return an.continueListing(t, m)
	}

	g, ready, err := an.reader.buildFull(m.channel)
	if err != nil {
		return nil, err
	}
	if m.from != nil && !m.reset && g.size > min(smallChannel, an.room.wholeAnswer()) {
		if known, next, err := an.changesFrom(t, m); known || err != nil {
			return next, err
		}
	}
	if ready && !g.tooMany && !g.large {
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
	case g.tooMany && m.unasked:
		return nil, pages.ErrTooLarge
	case g.tooMany:
		rest.byID = true
	default:
		rest.list = &listing{epoch: an.room.shortEpoch(), at: g.at, rows: g.rows}
		t.send(m.conn, m.front()...)
	}
	return &rest, nil
}

// front returns the delete-all that precedes a whole channel, if the client may have other rows.
func (m *syncMessage) front() []*hibernate.Frame {
	if m.from == nil && !m.reset {
		return nil
	}
	return []*hibernate.Frame{deleteAll(m.channel, "")}
}

// finish sends the last frames of an answer. Until the client confirms them, the room assumes that it has the channel
// as of the commit since.
func (an *answers) finish(t *turn, m *syncMessage, frames []*hibernate.Frame, since storage.Seq) error {
	if err := an.peers.noteAnswer(t, m, int64(since)); err != nil {
		return err
	}
	t.send(m.conn, frames...)
	an.peers.awaitConfirmation(t, m.conn)
	an.holds.finish(t, m.conn, m.channel)
	return nil
}

// continueListing sends the next rows of a large channel, by ascending stamp. What has changed since the listing was
// made follows at the end.
func (an *answers) continueListing(t *turn, m *syncMessage) (next *syncMessage, err error) {
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
	case !soon: // there are many, so they are sent as a listing too
		return an.startDelta(m, m.list.at), nil
	}
	return nil, an.finish(t, m, frames, m.base)
}

// startOver returns the sync that begins a large channel again, with a new listing.
func (an *answers) startOver(m *syncMessage) *syncMessage {
	if g := an.reader.full[m.channel]; g != nil && g.at <= m.list.at {
		delete(an.reader.full, m.channel)
	}
	rest := *m
	rest.list, rest.next, rest.reset, rest.from, rest.base = nil, 0, true, nil, 0
	return &rest
}

// changesSinceListing returns the last frames of the answer for a large channel. soon is false if there is more than
// a turn may read.
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

// changesFrom answers a sync from a stamp with what has changed since. next is the sync that asks for the rest. known
// is false if the room cannot find the commit of the stamp.
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
		return true, an.startDelta(&rest, since), nil
	}
	frames, err := changed.Answer(m.channel, an.room.cursor())
	if err != nil {
		return false, nil, err
	}
	return true, nil, an.finish(t, m, frames, since)
}

// What a client without cursors lacks may be more than a turn may read. The published client must get it by ascending
// stamp, see room/internal/pages. So the room first collects a delta, one piece a turn: the ids, the stamps, and the
// tombstones. The delta becomes a listing, which is sent like that of a large channel, one piece a turn. What has
// changed meanwhile follows in the same way, until the rest fits into one turn. If the delta gets too large, a
// delete-all and every live row follow instead.

// startDelta returns the sync that goes on with what has changed after a commit.
func (an *answers) startDelta(m *syncMessage, since storage.Seq) *syncMessage {
	rest := *m
	rest.list, rest.next = nil, 0
	rest.delta = &delta{epoch: an.room.shortEpoch(), place: storage.ChangePlace{Seq: since}, until: an.room.db.Seq()}
	return &rest
}

// continueDelta reads the next changes of a delta.
func (an *answers) continueDelta(t *turn, m *syncMessage) (next *syncMessage, err error) {
	g := *m.delta
	if g.epoch != an.room.shortEpoch() {
		return an.fullResync(m), nil
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
		return an.fullResync(m), nil
	case err != nil:
		return nil, err
	case len(g.rows) > maxDeltaRows:
		return an.fullResync(m), nil
	}
	rest := *m
	if rest.delta = &g; done {
		rest.delta, rest.list, rest.next = nil, g.listing(), 0
	}
	return &rest, nil
}

// fullResync returns the sync that sends every live row instead of the changes.
func (an *answers) fullResync(m *syncMessage) *syncMessage {
	rest := *m
	rest.delta, rest.list, rest.next, rest.reset, rest.from, rest.base = nil, nil, 0, true, nil, 0
	return &rest
}

// answers sends clients the rows of the channels that they ask for.
type answers struct {
	room      *room
	holds     *holds
	peers     *peers
	syncs     *pendingSyncs
	reader    *reader
	publisher *publisher
}
