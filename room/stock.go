package room

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"

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

// A listing is the order in which a large channel is sent, or many changes. It is immutable, and shared.
type listing struct {
	epoch string
	at    storage.Seq // as of which commit
	rows  []gathered
	gone  int    // of changes: the rows up to the last tombstone. Those of them that stand in text are tombstones
	text  []byte // JSON
}

// syncStock answers a sync without a cursor; next is what is to be asked for the rest.
func (t *turn) syncStock(m *syncMessage) (next *syncMessage, err error) {
	t.answering(m.conn, m.channel)
	switch {
	case m.glean != nil:
		return t.gleanOn(m)
	case m.list != nil:
		return t.listOn(m)
	}
	l := t.life
	g, ready, err := t.gather(m.channel)
	if err != nil {
		return nil, err
	}
	if m.from != nil && !m.anew && g.size > min(smallChannel, l.wholeAnswer()) {
		if known, next, err := t.changesFrom(m); known || err != nil {
			return next, err
		}
	}
	if ready && !g.over && !g.large {
		frames := m.front()
		switch {
		case !m.unasked:
			frames = append(frames, g.answer(l.cursor()))
		case len(g.rows) > 0:
			frames = append(frames, g.update())
		}
		return nil, t.finish(m, frames, 0)
	}
	if err := t.noteAnswer(m, unanswered); err != nil {
		return nil, err
	}
	rest := *m
	switch {
	case !ready:
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
	if err := t.noteAnswer(m, int64(since)); err != nil {
		return err
	}
	t.send(m.conn, frames...)
	t.awaitConfirmation(m.conn)
	return t.endHold(m.conn, m.channel)
}

// pickRows is how many rows of a listing are read with one query at the most, and firstPick how many with the first one of a turn. Then
// it is twice as many as before, or half as many, by how long the rows are: the clock is not looked at between them.
const (
	pickRows  = 64
	firstPick = 4
)

// nextPick is how many rows to read where some took that many bytes, and left bytes may still be read.
func nextPick(rows, bytes, left int) int {
	n := min(2*rows, pickRows)
	if bytes > readLookBytes/2 {
		n = rows / 2
	}
	if bytes > 0 {
		n = min(n, left*rows/bytes)
	}
	return max(n, 1)
}

// listOn sends the next rows of a large channel, by ascending stamp. What has changed since the listing was made
// comes at the end.
func (t *turn) listOn(m *syncMessage) (next *syncMessage, err error) {
	l := t.life
	rest := *m
	if m.list.epoch != l.shortEpoch() {
		return l.startOver(m), nil
	}
	o := ordered{limit: math.MaxInt}
	for more, n := true, firstPick; more && rest.next < len(m.list.rows); {
		some, before := m.list.rows[rest.next:min(rest.next+n, len(m.list.rows))], o.total
		if more, err = t.pick(m.channel, m.list, some, &o); err != nil {
			return nil, err
		}
		rest.next += len(some)
		n = nextPick(len(some), o.total-before, t.life.quota.left)
	}
	o.sort()
	pages := o.pagesWithMore
	if m.unasked || m.next < m.list.gone { // the published client looks for tombstones in updates only
		pages = o.pages
	}
	t.send(m.conn, pages(m.channel, l.cursor())...)
	if rest.next < len(m.list.rows) || t.life.quota.spent() {
		return &rest, nil
	}
	frames, soon, err := t.changesSinceListing(m)
	switch {
	case errors.Is(err, storage.ErrForgotten):
		return l.startOver(m), nil
	case err != nil:
		return nil, err
	case !soon: // they are many, and go as the listing went
		return l.gleanAfter(m, m.list.at), nil
	}
	return nil, t.finish(m, frames, m.base)
}

// startOver is the sync that a large channel begins again with, from a listing that is new.
func (l *life) startOver(m *syncMessage) *syncMessage {
	if g := l.gathered[m.channel]; g != nil && g.at <= m.list.at {
		delete(l.gathered, m.channel)
	}
	rest := *m
	rest.list, rest.next, rest.anew, rest.from, rest.base = nil, 0, true, nil, 0
	return &rest
}

// pick reads rows of a listing. Those that have changed since are left out. more says whether the turn may read on.
func (t *turn) pick(channel string, list *listing, some []gathered, o *ordered) (more bool, err error) {
	ids := make([]storage.Value, 0, len(some))
	more = true
	for _, r := range some {
		if len(list.text) > 0 && r.end > r.start {
			o.addGone(r, list.text[r.start:r.end])
			more = t.life.quota.row(r.end - r.start)
		} else {
			ids = append(ids, r.id)
		}
	}
	rows, err := t.life.db.Pick(channel, ids)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	highest := some[len(some)-1].stamp
	for rows.Next() {
		bytes := 0
		if !isGone(rows) && compareValues(stampOf(rows), highest) <= 0 {
			bytes = o.add(rows)
		}
		more = t.life.quota.row(bytes)
	}
	return more, rows.Err()
}

// changesSinceListing ends the answer of a large channel. soon is false where there is more than a turn reads.
func (t *turn) changesSinceListing(m *syncMessage) (frames []*hibernate.Frame, soon bool, err error) {
	changed, soon, err := t.changedSoon(m.channel, m.list.at)
	if err != nil || !soon {
		return nil, false, err
	}
	if m.unasked {
		frames, err = changed.updates(m.channel, "")
	} else {
		frames, err = changed.answer(m.channel, t.life.cursor())
	}
	return frames, true, err
}

// changesFrom answers a sync from a stamp with what has changed since; next is what is to be asked for the rest. known is false
// where the room cannot place the stamp.
func (t *turn) changesFrom(m *syncMessage) (known bool, next *syncMessage, err error) {
	l := t.life
	since, known := l.db.SeqAt(m.channel, m.from)
	if !known {
		return false, nil, nil
	}
	changed, soon, err := t.changedSoon(m.channel, since)
	if errors.Is(err, storage.ErrForgotten) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	if !soon {
		rest := *m
		rest.base = since
		return true, l.gleanAfter(&rest, since), nil
	}
	frames, err := changed.answer(m.channel, l.cursor())
	if err != nil {
		return false, nil, err
	}
	return true, nil, t.finish(m, frames, since)
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
	if !hasRows(reply) {
		return reply
	}
	var r storedReply
	if err := json.Unmarshal(reply.Payload(), &r); err != nil {
		return reply
	}
	return bareReply(r.Channel, r.ID, r.Value, r.Cursor)
}

func bareReply(channel, id string, value json.RawMessage, cursor string) *hibernate.Frame {
	return hibernate.TextFrame(len(value)+256, func(dst []byte) []byte {
		return syncproto.AppendSuccess(dst, channel, id, nil, value, cursor)
	})
}

// hasRows reports whether a reply has rows in it. In no string of JSON that comes before them is a quotation mark
// without a backslash.
func hasRows(reply *hibernate.Frame) bool {
	_, rows, is := bytes.Cut(reply.Payload(), []byte(`"result":[`))
	return is && !bytes.HasPrefix(rows, []byte("]"))
}
