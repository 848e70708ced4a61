package room

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// publish makes the frames for the rows that a commit changed: the sender's reply,
// with the rows of the channel that it named, and updates for everybody else. The
// reply is returned, and not yet sent: rows of other channels reach the sender as
// updates in front of it. m is nil where a commit has no sender.
func (t *turn) publish(commit storage.Commit, m *actionMessage, value json.RawMessage) (reply *hibernate.Frame) {
	var mine []byte // the rows of the reply
	for rows := commit.Rows; len(rows) > 0; {
		var channel []storage.Row
		channel, rows = firstTable(rows)
		name := channel[0].Table
		encoded := encodeRows(t.life.scratch, channel)
		if t.life.scratch = encoded.bytes; cap(encoded.bytes) > maxScratch { // the frames hold copies
			t.life.scratch = nil
		}
		if m == nil || name != m.channel {
			t.broadcast(name, encoded, nil)
			continue
		}
		t.broadcast(name, encoded, m.conn)
		mine = encoded.bytes
		if len(rows) > 0 {
			mine = slices.Clone(mine) // another channel is encoded into the same memory
		}
	}
	for _, name := range commit.Rebased {
		t.rebase(name)
	}
	if m == nil {
		return nil
	}
	return hibernate.TextFrame(len(mine)+len(value)+128, func(dst []byte) []byte {
		return syncproto.AppendSuccess(dst, m.channel, m.id, mine, value)
	})
}

// rebase sends everybody a channel anew, behind a delete-all: an action has changed the
// table's definition, and every row may look different.
func (t *turn) rebase(channel string) {
	l := t.life
	if !contains(l.ns.channels, channel) {
		return
	}
	frames, err := l.anew(channel)
	if err != nil {
		l.log.Error("a table was redefined, and its rows cannot be sent", "channel", channel, "err", err)
		frames = []*hibernate.Frame{exception(channel, err)}
	}
	t.out = append(t.out, delivery{to: l.connections(), frames: frames})
}

// anew is a whole channel as updates behind a delete-all.
func (l *life) anew(channel string) ([]*hibernate.Frame, error) {
	all, err := l.liveRows(channel)
	if err != nil {
		return nil, err
	}
	frames, err := all.updateFrames(channel)
	return append([]*hibernate.Frame{deleteAll(channel)}, frames...), err
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

// broadcast sends changed rows to everybody but one.
func (t *turn) broadcast(channel string, rows encodedRows, except *hibernate.Connection) {
	to := t.life.connections()
	if len(to) == 0 || len(to) == 1 && to[0] == except {
		return
	}
	t.out = append(t.out, delivery{to: to, except: except, frames: updates(channel, rows)})
}

func updates(channel string, rows encodedRows) (frames []*hibernate.Frame) {
	for page := range rows.pages {
		frames = append(frames, hibernate.TextFrame(len(page)+len(channel)+64, func(dst []byte) []byte {
			return syncproto.AppendUpdate(dst, channel, page)
		}))
	}
	return frames
}

// sync answers a client that asks for a channel's rows: all live ones, or those
// that changed since a time that it names. Tombstones go in update frames in front
// of the answer, for the published client drops a row only in those.
func (t *turn) sync(m *syncMessage) error {
	l := t.life
	if !contains(l.ns.channels, m.channel) {
		return unknownChannel()
	}
	frames, err := l.answerSync(m)
	if err != nil {
		if storageFailed(err) {
			t.broken = err
		}
		return err
	}
	t.send(m.conn, frames...)
	t.subscribe(m.conn, m.channel)
	return nil
}

func (l *life) answerSync(m *syncMessage) ([]*hibernate.Frame, error) {
	if m.from == nil {
		return l.snapshot(m.channel)
	}
	since, known := l.db.SeqAt(m.channel, m.from)
	if !known {
		return l.replace(m.channel)
	}
	frames, err := l.changes(m.channel, since)
	if errors.Is(err, storage.ErrForgotten) {
		return l.replace(m.channel)
	}
	return frames, err
}

// replace answers a sync from a stamp that the room cannot place: a delete-all, and the
// channel as it is.
func (l *life) replace(channel string) ([]*hibernate.Frame, error) {
	frames, err := l.snapshot(channel)
	return append([]*hibernate.Frame{deleteAll(channel)}, frames...), err
}

func deleteAll(channel string) *hibernate.Frame {
	return hibernate.TextFrame(128, func(dst []byte) []byte { return syncproto.AppendDeleteAll(dst, channel) })
}

// snapshot is a channel's live rows, as pages.
func (l *life) snapshot(channel string) ([]*hibernate.Frame, error) {
	if frames := l.pages.get(channel, l.db.Seq()); frames != nil {
		return frames, nil
	}
	live, err := l.liveRows(channel)
	if err != nil {
		return nil, err
	}
	frames, err := live.syncFrames(channel)
	if err == nil {
		l.pages.put(channel, l.db.Seq(), frames, live.total)
	}
	return frames, err
}

func (l *life) liveRows(channel string) (live pager, err error) {
	live.limit = l.host.opts.MaxSnapshotBytes
	rows, err := l.db.Live(channel)
	if err != nil {
		return live, err
	}
	defer rows.Close()
	for rows.Next() {
		live.add(rows)
	}
	return live, rows.Err()
}

// changes is what became of a channel's rows after a commit: tombstones as
// updates, then live rows as the answer to sync.
func (l *life) changes(channel string, since storage.Seq) ([]*hibernate.Frame, error) {
	live, gone, err := l.changedRows(channel, since)
	if err != nil {
		return nil, err
	}
	frames, err := gone.updateFrames(channel)
	if err != nil {
		return nil, err
	}
	answer, err := live.syncFrames(channel)
	return append(frames, answer...), err
}

func (l *life) changedRows(channel string, since storage.Seq) (live, gone pager, err error) {
	live.limit, gone.limit = l.host.opts.MaxSnapshotBytes, l.host.opts.MaxSnapshotBytes
	rows, err := l.db.Since(channel, since)
	if err != nil {
		return live, gone, err
	}
	defer rows.Close()
	last := len(rows.Columns()) - 1
	for rows.Next() {
		if rows.Type(last) == storage.Null {
			live.add(rows)
		} else {
			gone.add(rows)
		}
	}
	return live, gone, rows.Err()
}

// A pager encodes rows into pages.
type pager struct {
	limit int
	total int
	full  [][]byte // pages that are done
	page  []byte
}

func (p *pager) add(rows *storage.Rows) {
	if p.total > p.limit {
		return
	}
	if len(p.page) >= syncproto.DefaultPageBytes {
		p.full = append(p.full, p.page)
		p.page = make([]byte, 0, syncproto.DefaultPageBytes+4096)
	}
	before := len(p.page)
	p.page = appendRow(syncproto.AppendSeparator(p.page), rows)
	p.total += len(p.page) - before
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

func (p *pager) syncFrames(channel string) ([]*hibernate.Frame, error) {
	frames, err := p.frames(channel, syncproto.AppendSyncStart, syncproto.AppendSyncMore, syncproto.AppendSyncEnd)
	if err == nil && len(frames) == 0 {
		frames = append(frames, hibernate.TextFrame(64, func(dst []byte) []byte {
			return syncproto.AppendSyncEnd(syncproto.AppendSyncStart(dst, channel))
		}))
	}
	return frames, err
}

func (p *pager) updateFrames(channel string) ([]*hibernate.Frame, error) {
	return p.frames(channel, syncproto.AppendUpdateStart, syncproto.AppendUpdateEnd, syncproto.AppendUpdateEnd)
}

// frames wraps each page in a frame; the last one has an end of its own.
func (p *pager) frames(channel string, start func([]byte, string) []byte, more, end func([]byte) []byte) ([]*hibernate.Frame, error) {
	if p.total > p.limit {
		return nil, &Error{Code: syncproto.CodeTooLarge, Message: "The channel is too large to be sent at once."}
	}
	pages := p.full
	if len(p.page) > 0 {
		pages = append(pages, p.page)
	}
	frames := make([]*hibernate.Frame, len(pages))
	for i, page := range pages {
		frames[i] = hibernate.TextFrame(len(page)+len(channel)+64, func(dst []byte) []byte {
			dst = append(start(dst, channel), page...)
			if i < len(pages)-1 {
				return more(dst)
			}
			return end(dst)
		})
	}
	return frames, nil
}

// maxCachedPages is the largest snapshot that a room keeps encoded, in bytes.
const maxCachedPages = 4 << 20

// A pageCache keeps the encoded snapshot of one channel as long as the room does
// not change, so that many clients that come at once share one encoding and its
// memory.
type pageCache struct {
	channel string
	seq     storage.Seq
	frames  []*hibernate.Frame
}

func (p *pageCache) get(channel string, seq storage.Seq) []*hibernate.Frame {
	if p.channel != channel || p.seq != seq {
		return nil
	}
	return p.frames
}

func (p *pageCache) put(channel string, seq storage.Seq, frames []*hibernate.Frame, size int) {
	*p = pageCache{}
	if size <= maxCachedPages {
		*p = pageCache{channel, seq, frames}
	}
}
