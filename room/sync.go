package room

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// publish makes the frames for the rows that a commit changed: the sender's reply,
// with the rows of the channel that it named, and updates for everybody else. The
// reply is returned, and not yet sent: rows of other channels reach the sender as
// updates in front of it. m is nil where a commit has no sender. mine are the reply's rows, until
// the next broadcast.
func (t *turn) publish(commit storage.Commit, m *actionMessage, value json.RawMessage) (reply *hibernate.Frame, mine []byte) {
	groups := byTable(commit.Rows)
	if m != nil { // the sender's channel comes last, see cursor.go
		slices.SortStableFunc(groups, func(a, b []storage.Row) int {
			return cmp.Compare(own(a, m), own(b, m))
		})
	}
	for i, rows := range groups {
		cursor := ""
		if i == len(groups)-1 && len(commit.Rebased) == 0 {
			cursor = t.life.cursor()
		}
		if own(rows, m) == 0 {
			t.broadcast(rows, nil, cursor)
			continue
		}
		except := m.conn
		if len(commit.Rebased) > 0 {
			except = nil // the cursor comes in front of the reply, so these rows must too
		}
		mine = t.broadcast(rows, except, cursor)
	}
	for i, name := range commit.Rebased {
		cursor := ""
		if i == len(commit.Rebased)-1 {
			cursor = t.life.cursor()
		}
		t.rebase(name, cursor)
	}
	if m == nil {
		return nil, nil
	}
	cursor := t.life.cursor()
	reply = replyFrame(len(mine)+len(value)+192, syncproto.Reply{
		Channel: m.channel, ID: m.id, Number: m.fate(syncproto.NumberUsed), Rows: mine, Value: value, Cursor: cursor,
	})
	return reply, mine
}

// own is 1 for rows of the channel that an action named, else 0.
func own(rows []storage.Row, m *actionMessage) int {
	if m != nil && rows[0].Table == m.channel {
		return 1
	}
	return 0
}

// rebase sends everybody a channel anew, behind a delete-all: an action has changed the
// table's definition, and every row may look different.
func (t *turn) rebase(channel, cursor string) {
	l := t.life
	if !contains(l.ns.channels, channel) {
		return
	}
	frames, err := l.anew(channel, cursor)
	if err != nil {
		l.log.Error("a table was redefined, and its rows cannot be sent", "channel", channel, "err", err)
		frames = []*hibernate.Frame{exception(channel, err)}
		t.breakOff(channel)
	}
	if to := t.audience(channel); len(to) > 0 {
		t.out = append(t.out, delivery{to: to, frames: frames})
	}
}

// anew is a whole channel as updates behind a delete-all.
func (l *life) anew(channel, cursor string) ([]*hibernate.Frame, error) {
	all := ordered{limit: l.host.opts.MaxSnapshotBytes}
	rows, err := l.db.Live(channel)
	if err == nil {
		err = all.addAll(rows)
	}
	if err != nil {
		return nil, err
	}
	if all.total == 0 {
		return []*hibernate.Frame{deleteAll(channel, cursor)}, nil
	}
	frames, err := all.updates(channel, cursor)
	return append([]*hibernate.Frame{deleteAll(channel, "")}, frames...), err
}

// exception is a frame that says what is wrong with a channel.
func exception(channel string, err error) *hibernate.Frame {
	code, text := ErrorCode(err)
	return hibernate.TextFrame(256, func(dst []byte) []byte {
		return syncproto.AppendChannelException(dst, channel, code, text)
	})
}

// maxScratch is how much memory a room keeps for encoding rows, in bytes.
const maxScratch = 64 << 10

// byTable parts rows by their tables, all in their order. An action may touch tables in
// turns.
func byTable(rows []storage.Row) (groups [][]storage.Row) {
	for len(rows) > 0 {
		var first []storage.Row
		first, rows = firstTable(rows)
		groups = append(groups, first)
	}
	return groups
}

// firstTable takes the rows of the first row's table out, and leaves the others, both
// in their order. An action may touch tables in turns.
func firstTable(rows []storage.Row) (first, others []storage.Row) {
	name := rows[0].Table
	n := slices.IndexFunc(rows, func(r storage.Row) bool { return r.Table != name })
	if n < 0 {
		return rows, nil
	}
	first = slices.Clone(rows[:n])
	for _, r := range rows[n:] {
		if r.Table == name {
			first = append(first, r)
		} else {
			others = append(others, r)
		}
	}
	return first, others
}

// encodedRows are rows as JSON with commas between them, and where pages end.
type encodedRows struct {
	bytes []byte
	cuts  []int // positions of commas at which a frame may end
}

// encodeRows encodes into scratch's memory.
func encodeRows(scratch []byte, rows []storage.Row) encodedRows {
	var e encodedRows
	last := 0
	e.bytes = scratch[:0]
	for _, row := range rows {
		if len(e.bytes)-last >= syncproto.DefaultPageBytes {
			last = len(e.bytes)
			e.cuts = append(e.cuts, last)
		}
		e.bytes = appendCells(syncproto.AppendSeparator(e.bytes), row)
	}
	return e
}

// pages gives the rows page by page.
func (e encodedRows) pages(yield func(rows []byte) bool) {
	start := 0
	for _, cut := range e.cuts {
		if !yield(e.bytes[start:cut]) {
			return
		}
		start = cut + 1 // behind the comma
	}
	if start < len(e.bytes) {
		yield(e.bytes[start:])
	}
}

// broadcast sends changed rows of one channel to everybody but one, and gives them as
// they are encoded: until the next broadcast. The last frame has the cursor.
func (t *turn) broadcast(rows []storage.Row, except *hibernate.Connection, cursor string) []byte {
	l, channel := t.life, rows[0].Table
	encoded := encodeRows(l.scratch, rows)
	if l.scratch = encoded.bytes; cap(encoded.bytes) > maxScratch { // the frames hold copies
		l.scratch = nil
	}
	if to := t.audience(channel); len(to) > 1 || len(to) == 1 && to[0] != except {
		t.out = append(t.out, delivery{to: to, except: except, frames: updates(channel, encoded, cursor)})
	}
	return encoded.bytes
}

func updates(channel string, rows encodedRows, cursor string) (frames []*hibernate.Frame) {
	left := len(rows.cuts)
	for page := range rows.pages {
		end := ""
		if left == 0 {
			end = cursor
		}
		left--
		frames = append(frames, hibernate.TextFrame(len(page)+len(channel)+128, func(dst []byte) []byte {
			return syncproto.AppendUpdate(dst, channel, page, end)
		}))
	}
	return frames
}

// sync answers a client that asks for a channel's rows: all live ones, or those that
// changed since a cursor or a time that it names. next is what is to be asked for the
// rest, nil where there is none.
func (t *turn) sync(m *syncMessage) (next *syncMessage, err error) {
	if !contains(t.life.ns.channels, m.channel) {
		return nil, unknownChannel()
	}
	if t.gone(m) || !t.inquire(m) {
		return nil, nil
	}
	if t.life.quota.spent() && !t.shared(m) {
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

func deleteAll(channel, cursor string) *hibernate.Frame {
	return hibernate.TextFrame(192, func(dst []byte) []byte { return syncproto.AppendDeleteAll(dst, channel, cursor) })
}

// A pager encodes rows into pages.
type pager struct {
	total int      // bytes
	full  [][]byte // pages that are done
	page  []byte
}

// add encodes the row on which rows stands, and gives its size.
func (p *pager) add(rows *storage.Rows) (bytes int) {
	if len(p.page) >= syncproto.DefaultPageBytes {
		p.full = append(p.full, p.page)
		p.page = make([]byte, 0, syncproto.DefaultPageBytes+4096)
	}
	before := len(p.page)
	p.page = appendRow(syncproto.AppendSeparator(p.page), rows)
	p.total += len(p.page) - before
	return len(p.page) - before
}

func appendCells(dst []byte, row storage.Row) []byte {
	dst = append(dst, '[')
	first := true
	for c := range row.Cells() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		switch c.Type {
		case storage.Integer:
			dst = syncproto.AppendInt(dst, c.Int)
		case storage.Float:
			dst = syncproto.AppendFloat(dst, c.Float)
		case storage.Text:
			dst = syncproto.AppendString(dst, c.Bytes)
		case storage.Blob:
			dst = syncproto.AppendBlob(dst, c.Bytes)
		default:
			dst = syncproto.AppendNull(dst)
		}
	}
	return append(dst, ']')
}

// appendRow encodes the row on which rows stands, without copying its values.
func appendRow(dst []byte, rows *storage.Rows) []byte {
	dst = append(dst, '[')
	for i := range rows.Columns() {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch rows.Type(i) {
		case storage.Integer:
			dst = syncproto.AppendInt(dst, rows.Int(i))
		case storage.Float:
			dst = syncproto.AppendFloat(dst, rows.Float(i))
		case storage.Text:
			dst = syncproto.AppendString(dst, rows.Bytes(i))
		case storage.Blob:
			dst = syncproto.AppendBlob(dst, rows.Bytes(i))
		default:
			dst = syncproto.AppendNull(dst)
		}
	}
	return append(dst, ']')
}

func (p *pager) syncFrames(channel, cursor string) []*hibernate.Frame {
	end := func(dst []byte) []byte { return syncproto.AppendSyncEnd(dst, cursor) }
	if p.total == 0 {
		return []*hibernate.Frame{hibernate.TextFrame(128, func(dst []byte) []byte {
			return end(syncproto.AppendSyncStart(dst, channel))
		})}
	}
	return p.frames(channel, func(dst []byte) []byte { return syncproto.AppendSyncMore(dst, cursor) }, end)
}

// partFrames gives the rows as frames of a sync that goes on; none where there is no row. at is the cursor as of which they are.
func (p *pager) partFrames(channel, at string) []*hibernate.Frame {
	more := func(dst []byte) []byte { return syncproto.AppendSyncMore(dst, at) }
	return p.frames(channel, more, more)
}

// frames wraps each page in a frame; the last one has an end of its own.
func (p *pager) frames(channel string, more, end func([]byte) []byte) []*hibernate.Frame {
	pages := p.full
	if len(p.page) > 0 {
		pages = append(pages, p.page)
	}
	frames := make([]*hibernate.Frame, len(pages))
	for i, page := range pages {
		frames[i] = hibernate.TextFrame(len(page)+len(channel)+128, func(dst []byte) []byte {
			dst = append(syncproto.AppendSyncStart(dst, channel), page...)
			if i < len(pages)-1 {
				return more(dst)
			}
			return end(dst)
		})
	}
	return frames
}
