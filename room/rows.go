package room

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// Rows as JSON: in pages, in frames, and by ascending stamp.

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

// The published client stores each row as it comes, and asks later for what has changed
// since the newest stamp in its store. So what is sent to it in several frames goes by
// ascending stamp, tombstones among the rows: wherever the line breaks, all that is
// missing has a stamp that is no lower than the newest that has arrived.

// ordered are encoded rows and tombstones that are to be sent by ascending stamp.
type ordered struct {
	limit int // of total, in bytes; what is over it is not kept
	total int
	text  []byte
	rows  []orderedRow
}

type orderedRow struct {
	stamp, id  storage.Value
	start, end int // in text
	gone       bool
}

// add encodes the row on which rows stands, and gives its size; 0 where it is not kept.
func (o *ordered) add(rows *storage.Rows) (bytes int) {
	if o.over() {
		return 0
	}
	start := len(o.text)
	o.text = appendRow(o.text, rows)
	o.total = len(o.text)
	o.rows = append(o.rows, orderedRow{stampOf(rows), rows.Value(0), start, o.total, isGone(rows)})
	return o.total - start
}

// addGone adds a tombstone that is encoded already.
func (o *ordered) addGone(r gathered, text []byte) {
	start := len(o.text)
	o.text = append(o.text, text...)
	o.total = len(o.text)
	o.rows = append(o.rows, orderedRow{r.stamp, r.id, start, o.total, true})
}

// addAll adds all rows, and closes them.
func (o *ordered) addAll(rows *storage.Rows) error {
	defer rows.Close()
	for rows.Next() {
		o.add(rows)
	}
	return rows.Err()
}

// over reports whether the rows are more than the limit; not all of them are there then.
func (o *ordered) over() bool { return o.total > o.limit }

func (o *ordered) sort() {
	slices.SortFunc(o.rows, func(a, b orderedRow) int { return cmp.Or(compareValues(a.stamp, b.stamp), compareValues(a.id, b.id)) })
}

// updates gives the rows as updates; the last one has the cursor.
func (o *ordered) updates(channel, cursor string) ([]*hibernate.Frame, error) {
	if o.over() {
		return nil, tooLargeAtOnce()
	}
	o.sort()
	return updates(channel, o.encoded(o.rows), cursor), nil
}

// answer gives the rows as the answer to a sync. The published client looks for tombstones in updates
// only: the rows up to the last tombstone are updates, and those behind it the answer itself.
func (o *ordered) answer(channel, cursor string) ([]*hibernate.Frame, error) {
	if o.over() {
		return nil, tooLargeAtOnce()
	}
	o.sort()
	mixed := len(o.rows)
	for mixed > 0 && !o.rows[mixed-1].gone {
		mixed--
	}
	frames := updates(channel, o.encoded(o.rows[:mixed]), "")
	return append(frames, o.pager(o.rows[mixed:]).syncFrames(channel, cursor)...), nil
}

// pagesWithMore gives the rows as pages of an answer that goes on.
func (o *ordered) pagesWithMore(channel, at string) []*hibernate.Frame {
	return o.pager(o.rows).partFrames(channel, at)
}

// pages gives the rows as updates.
func (o *ordered) pages(channel, _ string) []*hibernate.Frame {
	return updates(channel, o.encoded(o.rows), "")
}

func (o *ordered) pager(rows []orderedRow) *pager {
	e := o.encoded(rows)
	return &pager{total: len(e.bytes), full: slices.Collect(e.pages)}
}

func (o *ordered) encoded(rows []orderedRow) (e encodedRows) {
	last := 0
	for _, r := range rows {
		if len(e.bytes)-last >= syncproto.DefaultPageBytes {
			last = len(e.bytes)
			e.cuts = append(e.cuts, last)
		}
		e.bytes = append(syncproto.AppendSeparator(e.bytes), o.text[r.start:r.end]...)
	}
	return e
}

func tooLargeAtOnce() error {
	return &Error{Code: syncproto.CodeTooLarge, Message: "The channel is too large to be sent at once."}
}

// stampOf is the newest of a row's stamps, which the published client goes by.
func stampOf(rows *storage.Rows) storage.Value {
	n := len(rows.Columns())
	updated, deleted := rows.Value(n-2), rows.Value(n-1)
	if compareValues(deleted, updated) > 0 {
		return deleted
	}
	return updated
}

func isGone(rows *storage.Rows) bool { return rows.Type(len(rows.Columns())-1) != storage.Null }

// compareValues orders values as SQLite does: NULL, numbers, text, blobs.
func compareValues(a, b storage.Value) int {
	if c := cmp.Compare(valueClass(a), valueClass(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case int64:
		if b, whole := b.(int64); whole {
			return cmp.Compare(a, b)
		}
		return cmp.Compare(float64(a), b.(float64))
	case float64:
		if b, whole := b.(int64); whole {
			return cmp.Compare(a, float64(b))
		}
		return cmp.Compare(a, b.(float64))
	case string:
		return cmp.Compare(a, b.(string))
	case []byte:
		return bytes.Compare(a, b.([]byte))
	}
	return 0
}

func valueClass(v storage.Value) int {
	switch v.(type) {
	case int64, float64:
		return 1
	case string:
		return 2
	case []byte:
		return 3
	}
	return 0
}

// byStamp is the order of all that comes unasked.
func byStamp(a, b gathered) int {
	return cmp.Or(compareValues(a.stamp, b.stamp), compareValues(a.id, b.id))
}

// sameID makes ids that SQLite takes for the same one equal, and all of them comparable.
func sameID(id storage.Value) storage.Value {
	switch id := id.(type) {
	case float64:
		if id == math.Trunc(id) && math.Abs(id) < 1<<63 {
			return int64(id)
		}
	case []byte:
		return [1]string{string(id)} // a text of the same bytes is another id
	}
	return id
}
