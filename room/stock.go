package room

import (
	"errors"
	"math"
	"slices"

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
	if m.from != nil && !m.reset && g.size > min(smallChannel, l.wholeAnswer()) {
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
		return nil, pages.ErrTooLarge
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
	if m.from == nil && !m.reset {
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
	if bytes > pages.LookBytes/2 {
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
	o := pages.Ordered{Limit: math.MaxInt}
	for more, n := true, firstPick; more && rest.next < len(m.list.rows); {
		some, before := m.list.rows[rest.next:min(rest.next+n, len(m.list.rows))], o.Total
		if more, err = t.pick(m.channel, m.list, some, &o); err != nil {
			return nil, err
		}
		rest.next += len(some)
		n = nextPick(len(some), o.Total-before, t.life.quota.Left())
	}
	o.Sort()
	encode := o.PagesWithMore
	if m.unasked || m.next < m.list.gone { // the published client looks for tombstones in updates only
		encode = o.Pages
	}
	t.send(m.conn, encode(m.channel, l.cursor())...)
	if rest.next < len(m.list.rows) || t.life.quota.Spent() {
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
	rest.list, rest.next, rest.reset, rest.from, rest.base = nil, 0, true, nil, 0
	return &rest
}

// pick reads rows of a listing. Those that have changed since are left out. more says whether the turn may read on.
func (t *turn) pick(channel string, list *listing, some []gathered, o *pages.Ordered) (more bool, err error) {
	ids := make([]storage.Value, 0, len(some))
	more = true
	for _, r := range some {
		if len(list.text) > 0 && r.end > r.start {
			o.AddGone(r.stamp, r.id, list.text[r.start:r.end])
			more = t.life.quota.Row(r.end - r.start)
		} else {
			ids = append(ids, r.id)
		}
	}
	rows, err := t.life.db.Table(channel).Pick(ids)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	highest := some[len(some)-1].stamp
	for rows.Next() {
		bytes := 0
		if !pages.IsGone(rows) && pages.Compare(pages.StampOf(rows), highest) <= 0 {
			bytes = o.Add(rows)
		}
		more = t.life.quota.Row(bytes)
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
		frames, err = changed.Updates(m.channel, "")
	} else {
		frames, err = changed.Answer(m.channel, t.life.cursor())
	}
	return frames, true, err
}

// changesFrom answers a sync from a stamp with what has changed since; next is what is to be asked for the rest. known is false
// where the room cannot place the stamp.
func (t *turn) changesFrom(m *syncMessage) (known bool, next *syncMessage, err error) {
	l := t.life
	since, known := l.db.Table(m.channel).SeqAt(m.from)
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
	frames, err := changed.Answer(m.channel, l.cursor())
	if err != nil {
		return false, nil, err
	}
	return true, nil, t.finish(m, frames, since)
}

// changed is what became of a channel's rows after a commit.
func (l *life) changed(channel string, since storage.Seq) (*pages.Ordered, error) {
	o := &pages.Ordered{Limit: l.host.opts.MaxSnapshotBytes}
	rows, err := l.db.Table(channel).Since(since)
	if err != nil {
		return nil, err
	}
	return o, o.AddAll(rows)
}

// What a client without cursors lacks, where it is more than a turn reads. The published client must get it by ascending stamp,
// see room/internal/pages. So the changes are gleaned first, a piece a turn: ids, stamps, and tombstones. Then they are a
// listing, which is sent as that of a large channel is, a piece a turn; and what has changed meanwhile follows in the same
// way, until it is little enough for one turn. Where there are too many, every live row follows after a delete-all.

// gleanMost is how many changed rows are gleaned at the most; each takes some 100 bytes of memory.
const gleanMost = 16 << 10

// A gleaning is the changes after a commit, as they are put together. It is immutable.
type gleaning struct {
	epoch string
	place storage.ChangePlace // how far the log has been read
	until storage.Seq
	rows  []gathered // those with a text are tombstones
	text  []byte
	begun bool
}

// changedSoon is what became of a channel's rows after a commit. soon is false where that is more than the turn may
// still read.
func (t *turn) changedSoon(channel string, since storage.Seq) (o *pages.Ordered, soon bool, err error) {
	if t.life.quota.Spent() {
		return nil, false, nil
	}
	rows, err := t.life.db.Table(channel).SincePart(storage.ChangePlace{Seq: since}, t.life.db.Seq())
	if err != nil {
		return nil, false, err
	}
	o = &pages.Ordered{Limit: math.MaxInt}
	_, more, err := t.life.quota.Read(rows, o.Add)
	if err != nil || !more {
		return nil, false, err
	}
	return o, rows.AtEnd(), nil
}

// gleanAfter is the sync that goes on with what has changed after a commit.
func (l *life) gleanAfter(m *syncMessage, since storage.Seq) *syncMessage {
	rest := *m
	rest.list, rest.next = nil, 0
	rest.glean = &gleaning{epoch: l.shortEpoch(), place: storage.ChangePlace{Seq: since}, until: l.db.Seq()}
	return &rest
}

// gleanOn reads the next changes.
func (t *turn) gleanOn(m *syncMessage) (next *syncMessage, err error) {
	l := t.life
	g := *m.glean
	if g.epoch != l.shortEpoch() {
		return l.everything(m), nil
	}
	if !g.begun {
		if err := t.noteAnswer(m, unanswered); err != nil {
			return nil, err
		}
		g.begun = true
	}
	done, err := l.readChanges(m.channel, &g.place, g.until, g.add)
	switch {
	case errors.Is(err, storage.ErrForgotten):
		return l.everything(m), nil
	case err != nil:
		return nil, err
	case len(g.rows) > gleanMost:
		return l.everything(m), nil
	}
	rest := *m
	if rest.glean = &g; done {
		rest.glean, rest.list, rest.next = nil, g.listing(), 0
	}
	return &rest, nil
}

// add keeps what is needed of a row that has changed.
func (g *gleaning) add(rows *storage.Rows) (bytes int) {
	r := gathered{id: rows.Value(0), stamp: pages.StampOf(rows), start: len(g.text)}
	if pages.IsGone(rows) {
		g.text = pages.AppendRow(g.text, rows)
	}
	r.end = len(g.text)
	g.rows = append(g.rows, r)
	return 64 + r.end - r.start
}

// listing is the order in which the changes are sent. Of a row that changed again the last change counts.
func (g *gleaning) listing() *listing {
	last := make(map[storage.Value]int, len(g.rows))
	for i, r := range g.rows {
		last[pages.SameID(r.id)] = i
	}
	rows := make([]gathered, 0, len(last))
	for i, r := range g.rows {
		if last[pages.SameID(r.id)] == i {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, byStamp)
	gone := len(rows)
	for gone > 0 && rows[gone-1].end == rows[gone-1].start {
		gone--
	}
	return &listing{epoch: g.epoch, at: g.until, rows: rows, gone: gone, text: g.text}
}

// everything is the sync that gives up on the changes.
func (l *life) everything(m *syncMessage) *syncMessage {
	rest := *m
	rest.glean, rest.list, rest.next, rest.reset, rest.from, rest.base = nil, nil, 0, true, nil, 0
	return &rest
}
