package room

import (
	"encoding/json"
	"errors"
	"math"
	"slices"

	"github.com/denrooms/den/hibernate"
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
//   - A larger one goes by ascending stamp, see ordered.go.
//   - Whose store has another room's rows gets a delete-all and everything: it asks from a stamp that this
//     room did not give out. A channel of up to smallChannel is always sent like that, because
//     a stamp proves little: once the newest row of the store is this room's, the others may
//     still be another's.

// smallChannel is up to where a channel is sent as a whole to whoever asks from a stamp, in bytes of JSON.
const smallChannel = syncproto.DefaultPageBytes

// A listing is the order in which a large channel is sent. It is immutable, and shared.
type listing struct {
	epoch string
	at    storage.Seq // as of which commit
	rows  []gathered
}

// syncStock answers a sync without a cursor; next is what is to be asked for the rest.
func (t *turn) syncStock(m *syncMessage) (next *syncMessage, err error) {
	if m.list != nil {
		return t.listOn(m)
	}
	l := t.life
	t.answering(m.conn, m.channel)
	g, err := l.gather(m.channel)
	if err != nil {
		return nil, err
	}
	if m.from != nil && g.size > min(smallChannel, l.wholeAnswer()) {
		frames, since, known, err := l.changesFrom(m.channel, m.from)
		if err != nil {
			return nil, err
		}
		if known {
			return nil, t.finish(m, frames, since)
		}
	}
	if g.whole && !g.over && !g.large {
		frames := m.front()
		switch {
		case !m.unasked:
			frames = append(frames, g.answer(l.cursor()))
		case len(g.rows) > 0:
			frames = append(frames, g.update())
		}
		return nil, t.finish(m, frames, 0)
	}
	if err := t.subscribe(m.conn, m.channel, unanswered); err != nil {
		return nil, err
	}
	rest := *m
	switch {
	case !g.whole:
	case g.over && m.unasked:
		return nil, tooLargeAtOnce()
	case g.over:
		rest.byID = true
	default:
		rest.list = &listing{epoch: l.shortEpoch(), at: g.at, rows: g.rows}
		t.send(m.conn, m.front()...)
	}
	return &rest, nil
}

// front is what comes before everything.
func (m *syncMessage) front() []*hibernate.Frame {
	if m.from == nil && !m.anew {
		return nil
	}
	return []*hibernate.Frame{deleteAll(m.channel, "")}
}

// finish sends the last frames of an answer. Until it is confirmed the client is taken to have the channel
// as of the commit since.
func (t *turn) finish(m *syncMessage, frames []*hibernate.Frame, since storage.Seq) error {
	if err := t.subscribe(m.conn, m.channel, int64(since)); err != nil {
		return err
	}
	t.send(m.conn, frames...)
	t.awaitConfirmation(m.conn)
	return t.endHold(m.conn, m.channel)
}

// pickRows is how many rows of a listing are read with one query.
const pickRows = 64

// listOn sends the next rows of a large channel, by ascending stamp. What has changed since the listing was made
// comes at the end.
func (t *turn) listOn(m *syncMessage) (next *syncMessage, err error) {
	l := t.life
	t.answering(m.conn, m.channel)
	rest := *m
	if m.list.epoch != l.shortEpoch() {
		return l.startOver(m), nil
	}
	o := ordered{limit: math.MaxInt}
	limit := min(readBytes, l.host.opts.MaxSnapshotBytes)
	for n := 0; o.total < limit && n < gatherRows && rest.next < len(m.list.rows); n += pickRows {
		some := m.list.rows[rest.next:min(rest.next+pickRows, len(m.list.rows))]
		if err := l.pick(m.channel, some, &o); err != nil {
			return nil, err
		}
		rest.next += len(some)
	}
	o.sort()
	pages := o.pagesWithMore
	if m.unasked {
		pages = o.pages
	}
	t.send(m.conn, pages(m.channel, l.cursor())...)
	if rest.next < len(m.list.rows) {
		return &rest, nil
	}
	frames, err := l.changesSinceListing(m)
	if code, _ := ErrorCode(err); errors.Is(err, storage.ErrForgotten) || err != nil && code == syncproto.CodeTooLarge {
		return l.startOver(m), nil
	}
	if err != nil {
		return nil, err
	}
	return nil, t.finish(m, frames, 0)
}

// startOver is the sync that a large channel begins again with, from a listing that is new.
func (l *life) startOver(m *syncMessage) *syncMessage {
	if g := l.gathered[m.channel]; g != nil && g.at <= m.list.at {
		delete(l.gathered, m.channel)
	}
	rest := *m
	rest.list, rest.next, rest.anew = nil, 0, true
	return &rest
}

// pick reads rows of a listing. Those that have changed since are left out.
func (l *life) pick(channel string, some []gathered, o *ordered) error {
	ids := make([]storage.Value, len(some))
	for i, r := range some {
		ids[i] = r.id
	}
	rows, err := l.db.Pick(channel, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	highest := some[len(some)-1].stamp
	for rows.Next() {
		if !isGone(rows) && compareValues(stampOf(rows), highest) <= 0 {
			o.add(rows)
		}
	}
	return rows.Err()
}

// changesSinceListing ends the answer of a large channel.
func (l *life) changesSinceListing(m *syncMessage) ([]*hibernate.Frame, error) {
	changed, err := l.changed(m.channel, m.list.at)
	switch {
	case err != nil:
		return nil, err
	case m.unasked:
		return changed.updates(m.channel, "")
	}
	return changed.answer(m.channel, l.cursor())
}

// changesFrom answers a sync from a stamp, with what has changed after the commit since; known is false
// where the room cannot place the stamp, or has too much to say.
func (l *life) changesFrom(channel string, stamp storage.Value) (frames []*hibernate.Frame, since storage.Seq, known bool, err error) {
	since, known = l.db.SeqAt(channel, stamp)
	if !known {
		return nil, 0, false, nil
	}
	changed, err := l.changed(channel, since)
	if errors.Is(err, storage.ErrForgotten) || err == nil && changed.over() {
		return nil, 0, false, nil
	}
	if err != nil {
		return nil, 0, false, err
	}
	frames, err = changed.answer(channel, l.cursor())
	return frames, since, true, err
}

// changed is what became of a channel's rows after a commit.
func (l *life) changed(channel string, since storage.Seq) (*ordered, error) {
	o := &ordered{limit: l.host.opts.MaxSnapshotBytes}
	rows, err := l.db.Since(channel, since)
	if err != nil {
		return nil, err
	}
	return o, o.addAll(rows)
}

// ownRows are the rows of a reply as an update, for a client that came back: it may have waited too long
// for the reply to the action that it sent as soon as it could, and then it drops the reply with its rows.
func (t *turn) ownRows(m *actionMessage, mine []byte) {
	if m.conn.Returned && len(mine) > 0 {
		channel := m.channel
		t.send(m.conn, hibernate.TextFrame(len(mine)+len(channel)+128, func(dst []byte) []byte {
			return syncproto.AppendUpdate(dst, channel, mine, "")
		}))
	}
}

// A storedReply is a reply as it goes out.
type storedReply struct {
	Channel string          `json:"channel"`
	ID      string          `json:"id"`
	Result  json.RawMessage `json:"result"`
	Value   json.RawMessage `json:"value"`
	Cursor  string          `json:"cursor"`
}

// withoutRows is a reply with no rows in it.
func withoutRows(reply *hibernate.Frame) *hibernate.Frame {
	var r storedReply
	if err := json.Unmarshal(reply.Payload(), &r); err != nil || slices.Equal(r.Result, []byte("[]")) {
		return reply
	}
	return hibernate.TextFrame(len(r.Value)+256, func(dst []byte) []byte {
		return syncproto.AppendSuccess(dst, r.Channel, r.ID, nil, r.Value, r.Cursor)
	})
}
