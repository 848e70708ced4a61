package room

import (
	"errors"
	"math"
	"slices"

	"github.com/denrooms/den/storage"
)

// What a client without cursors lacks, where it is more than a turn reads. The published client must get it by ascending stamp,
// see ordered.go. So the changes are gleaned first, a piece a turn: ids, stamps, and tombstones. Then they are a
// listing, which is sent as that of a large channel is, a piece a turn; and what has changed meanwhile follows in the same
// way, until it is little enough for one turn. Where there are too many, every live row follows behind a delete-all.

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
func (t *turn) changedSoon(channel string, since storage.Seq) (o *ordered, soon bool, err error) {
	if t.life.quota.spent() {
		return nil, false, nil
	}
	rows, err := t.life.db.SincePart(channel, storage.ChangePlace{Seq: since}, t.life.db.Seq())
	if err != nil {
		return nil, false, err
	}
	o = &ordered{limit: math.MaxInt}
	_, more, err := t.life.quota.read(rows, o.add)
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

// noteAnswer is subscribe for the answer to a sync. Where nobody has asked, a note is changed and none is made.
func (t *turn) noteAnswer(m *syncMessage, as int64) error {
	if m.pursued {
		peers, err := t.life.peer(m.conn)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(peers, func(p peer) bool { return p.channel == m.channel }) {
			return nil
		}
	}
	return t.subscribe(m.conn, m.channel, as)
}

// add keeps what is needed of a row that has changed.
func (g *gleaning) add(rows *storage.Rows) (bytes int) {
	r := gathered{id: rows.Value(0), stamp: stampOf(rows), start: len(g.text)}
	if isGone(rows) {
		g.text = appendRow(g.text, rows)
	}
	r.end = len(g.text)
	g.rows = append(g.rows, r)
	return 64 + r.end - r.start
}

// listing is the order in which the changes are sent. Of a row that changed again the last change counts.
func (g *gleaning) listing() *listing {
	last := make(map[storage.Value]int, len(g.rows))
	for i, r := range g.rows {
		last[sameID(r.id)] = i
	}
	rows := make([]gathered, 0, len(last))
	for i, r := range g.rows {
		if last[sameID(r.id)] == i {
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
	rest.glean, rest.list, rest.next, rest.anew, rest.from, rest.base = nil, nil, 0, true, nil, 0
	return &rest
}
