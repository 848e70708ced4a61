// Package pages encodes rows for clients: as JSON, divided into pages, in frames or by ascending stamp. It also
// limits how much of them is read in one turn of a room.
package pages

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// Encoded are rows as JSON with commas between them, and the ends of pages.
type Encoded struct {
	Bytes []byte
	cuts  []int // positions of commas at which a frame may end
	page  int   // the start of the last page
}

// next makes room for another row, in the next page if this one is full.
func (e *Encoded) next() {
	if len(e.Bytes)-e.page >= syncproto.DefaultPageBytes {
		e.page = len(e.Bytes)
		e.cuts = append(e.cuts, e.page)
	}
	e.Bytes = syncproto.AppendSeparator(e.Bytes)
}

// Encode encodes rows into scratch's memory.
func Encode(scratch []byte, rows []storage.Row) Encoded {
	e := Encoded{Bytes: scratch[:0]}
	for _, row := range rows {
		e.next()
		e.Bytes = appendCells(e.Bytes, row)
	}
	return e
}

// Pages yields the rows page by page.
func (e Encoded) Pages(yield func(rows []byte) bool) {
	start := 0
	for _, cut := range e.cuts {
		if !yield(e.Bytes[start:cut]) {
			return
		}
		start = cut + 1 // after the comma
	}
	if start < len(e.Bytes) {
		yield(e.Bytes[start:])
	}
}

// A Pager encodes rows into pages.
type Pager struct {
	Total int      // bytes
	full  [][]byte // complete pages
	page  []byte
}

// Add encodes the current row of rows, and returns its size.
func (p *Pager) Add(rows *storage.Rows) (bytes int) {
	if len(p.page) >= syncproto.DefaultPageBytes {
		p.full = append(p.full, p.page)
		p.page = make([]byte, 0, syncproto.DefaultPageBytes+4096)
	}
	before := len(p.page)
	p.page = AppendRow(syncproto.AppendSeparator(p.page), rows)
	p.Total += len(p.page) - before
	return len(p.page) - before
}

func appendCells(dst []byte, row storage.Row) []byte {
	dst = append(dst, '[')
	first := true
	for c, ok := row.Next(); ok; c, ok = row.Next() {
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

// AppendRow encodes the current row of rows, without copying its values.
func AppendRow(dst []byte, rows *storage.Rows) []byte {
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

// SyncFrames returns the rows as the frames of a sync that ends with them, at least one.
func (p *Pager) SyncFrames(channel, cursor string) []*hibernate.Frame {
	end := func(dst []byte) []byte { return syncproto.AppendSyncEnd(dst, cursor) }
	if p.Total == 0 {
		return []*hibernate.Frame{hibernate.TextFrame(128, func(dst []byte) []byte {
			return end(syncproto.AppendSyncStart(dst, channel))
		})}
	}
	return p.frames(channel, func(dst []byte) []byte { return syncproto.AppendSyncMore(dst, cursor) }, end)
}

// PartFrames returns the rows as frames of a sync that goes on, none if there is no row. at is the cursor that they
// are as of.
func (p *Pager) PartFrames(channel, at string) []*hibernate.Frame {
	more := func(dst []byte) []byte { return syncproto.AppendSyncMore(dst, at) }
	return p.frames(channel, more, more)
}

// frames wraps each page in a frame. The last frame ends with end, the others with more.
func (p *Pager) frames(channel string, more, end func([]byte) []byte) []*hibernate.Frame {
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

// The published client stores each row as it comes, and later asks for what has changed since the newest stamp in its
// store. So rows that are sent to it in several frames are sent by ascending stamp, tombstones among them. Wherever
// the connection breaks, everything that is missing has a stamp that is not lower than the newest that has arrived.

// Ordered are encoded rows and tombstones that are to be sent by ascending stamp.
type Ordered struct {
	Limit int // of Total, in bytes; rows beyond it are not kept
	Total int // bytes
	text  []byte
	rows  []orderedRow
}

type orderedRow struct {
	stamp, id  storage.Value
	start, end int // in text
	gone       bool
}

// Add encodes the current row of rows, and returns its size, or 0 if it is not kept.
func (o *Ordered) Add(rows *storage.Rows) (bytes int) {
	if o.Over() {
		return 0
	}
	start := len(o.text)
	o.text = AppendRow(o.text, rows)
	o.Total = len(o.text)
	o.rows = append(o.rows, orderedRow{StampOf(rows), rows.Value(0), start, o.Total, IsGone(rows)})
	return o.Total - start
}

// AddGone adds a tombstone that is encoded already.
func (o *Ordered) AddGone(stamp, id storage.Value, text []byte) {
	start := len(o.text)
	o.text = append(o.text, text...)
	o.Total = len(o.text)
	o.rows = append(o.rows, orderedRow{stamp, id, start, o.Total, true})
}

// AddAll adds all rows, and closes them.
func (o *Ordered) AddAll(rows *storage.Rows) error {
	defer rows.Close()
	for rows.Next() {
		o.Add(rows)
	}
	return rows.Err()
}

// Over reports whether the rows exceed the limit. Then not all of them have been kept.
func (o *Ordered) Over() bool { return o.Total > o.Limit }

// Sort sorts the rows by their stamps.
func (o *Ordered) Sort() {
	slices.SortFunc(o.rows, func(a, b orderedRow) int { return cmp.Or(Compare(a.stamp, b.stamp), Compare(a.id, b.id)) })
}

// Updates returns the rows as updates. The last one has the cursor.
func (o *Ordered) Updates(channel, cursor string) ([]*hibernate.Frame, error) {
	if o.Over() {
		return nil, ErrTooLarge
	}
	o.Sort()
	return Updates(channel, o.encoded(o.rows), cursor), nil
}

// Answer returns the rows as the answer to a sync. The published client looks for tombstones in updates only, so the
// rows up to the last tombstone are updates, and those after it are the answer itself.
func (o *Ordered) Answer(channel, cursor string) ([]*hibernate.Frame, error) {
	if o.Over() {
		return nil, ErrTooLarge
	}
	o.Sort()
	mixed := len(o.rows)
	for mixed > 0 && !o.rows[mixed-1].gone {
		mixed--
	}
	frames := Updates(channel, o.encoded(o.rows[:mixed]), "")
	return append(frames, o.pager(o.rows[mixed:]).SyncFrames(channel, cursor)...), nil
}

// PagesWithMore returns the rows as pages of an answer that goes on.
func (o *Ordered) PagesWithMore(channel, at string) []*hibernate.Frame {
	return o.pager(o.rows).PartFrames(channel, at)
}

// Pages returns the rows as updates.
func (o *Ordered) Pages(channel, _ string) []*hibernate.Frame {
	return Updates(channel, o.encoded(o.rows), "")
}

func (o *Ordered) pager(rows []orderedRow) *Pager {
	e := o.encoded(rows)
	return &Pager{Total: len(e.Bytes), full: slices.Collect(e.Pages)}
}

func (o *Ordered) encoded(rows []orderedRow) (e Encoded) {
	for _, r := range rows {
		e.next()
		e.Bytes = append(e.Bytes, o.text[r.start:r.end]...)
	}
	return e
}

// ErrTooLarge: the rows exceed their limit, and cannot be sent at once.
var ErrTooLarge = errors.New("the channel is too large to be sent at once")

// StampOf returns the newest of a row's stamps, which the published client compares.
func StampOf(rows *storage.Rows) storage.Value {
	n := len(rows.Columns())
	updated, deleted := rows.Value(n-2), rows.Value(n-1)
	if Compare(deleted, updated) > 0 {
		return deleted
	}
	return updated
}

// IsGone reports whether a row is marked as deleted.
func IsGone(rows *storage.Rows) bool { return rows.Type(len(rows.Columns())-1) != storage.Null }

// Compare orders values as SQLite does: NULL, numbers, text, blobs.
func Compare(a, b storage.Value) int {
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

// SameID returns a comparable value that is equal for ids that SQLite considers equal.
func SameID(id storage.Value) storage.Value {
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

// Updates returns rows as updates. The last one has the cursor.
func Updates(channel string, rows Encoded, cursor string) (frames []*hibernate.Frame) {
	left := len(rows.cuts)
	for page := range rows.Pages {
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
