package room

import (
	"cmp"
	"slices"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// A fullSnapshot has all live rows of a channel as of one commit, sorted, for the published client. The room reads
// the table in parts, one a turn, and serves other messages between them. At the end it reads again what has changed
// meanwhile. All clients that ask at the same time share one snapshot. As long as somebody asks for it, the room
// keeps it up to date, so the next client costs only the changes since the last.

const (
	// wholeAnswer is how much of a channel goes out as one frame, in bytes of JSON.
	wholeAnswer = 4 << 20
	// scanRows is how many rows are read with one query.
	scanRows = 10_000
	// maxSnapshotRows is how many rows a full snapshot has at most. Each takes about 100 bytes of memory besides its
	// JSON, which is kept up to wholeAnswer only.
	maxSnapshotRows = 500_000
	// maxSnapshotLag is how many commits a full snapshot may be behind and still be brought up to date.
	maxSnapshotLag = 10_000
	// snapshotIdle is how long a full snapshot is kept after it was last asked for.
	snapshotIdle = 10 * time.Second
)

type fullSnapshot struct {
	channel     string
	at          storage.Seq   // the commit that the rows are as of; while the table is being read, the commit at the start
	applied     int           // how many of the changes after at the rows include, while they are brought up to date
	place       storage.Value // how far the table has been read
	whole       bool          // the table has been read to its end
	large       bool          // over wholeAnswer: the rows have no JSON, and are sorted by stamp instead of creation
	tooMany     bool          // over maxSnapshotRows: the rows were dropped
	rowids      bool          // places are rowids
	rows        []snapshotRow
	json        []byte
	size        int // of the rows' JSON, in bytes; not counted once large is set
	frame       *hibernate.Frame
	updateFrame *hibernate.Frame // as update
	used        time.Time
}

type snapshotRow struct {
	id, created, stamp storage.Value
	rowid              int64 // 0 where there is none
	start, end         int   // in json
}

func (r *room) wholeAnswer() int { return min(wholeAnswer, r.node.opts.MaxSnapshotBytes) }

// compact rewrites the JSON without the rows that have changed, once they are most of it.
func (g *fullSnapshot) compact() {
	if len(g.json) < 2*g.size+64<<10 {
		return
	}
	text := make([]byte, 0, g.size)
	for i := range g.rows {
		r := &g.rows[i]
		start := len(text)
		text = append(text, g.json[r.start:r.end]...)
		r.start, r.end = start, len(text)
	}
	g.json = text
}

func (g *fullSnapshot) encode(rows *storage.Rows) snapshotRow {
	start := len(g.json)
	g.json = pages.AppendRow(g.json, rows)
	created := rows.Value(len(rows.Columns()) - 3)
	return snapshotRow{id: rows.Value(0), created: created, stamp: pages.StampOf(rows), start: start, end: len(g.json)}
}

// rowidOf returns the rowid that a place is, 0 if places are not rowids.
func (g *fullSnapshot) rowidOf(place storage.Value) int64 {
	if rowid, is := place.(int64); is && g.rowids {
		return rowid
	}
	return 0
}

// order is the order of creation; in a large snapshot it is the order of stamps.
func (g *fullSnapshot) order(a, b snapshotRow) int {
	if g.large {
		return byStamp(a, b)
	}
	return cmp.Or(pages.Compare(a.created, b.created), cmp.Compare(a.rowid, b.rowid), pages.Compare(a.id, b.id))
}

// merge adds sorted rows to the sorted rows that are there.
func (g *fullSnapshot) merge(part []snapshotRow) {
	slices.SortFunc(part, g.order)
	if len(g.rows) == 0 || len(part) == 0 || g.order(g.rows[len(g.rows)-1], part[0]) <= 0 {
		g.rows = append(g.rows, part...)
		return
	}
	merged := make([]snapshotRow, 0, len(g.rows)+len(part))
	for old := g.rows; len(old) > 0 || len(part) > 0; {
		if len(part) == 0 || len(old) > 0 && g.order(old[0], part[0]) <= 0 {
			merged, old = append(merged, old[0]), old[1:]
		} else {
			merged, part = append(merged, part[0]), part[1:]
		}
	}
	g.rows = merged
}

// answer returns the snapshot as the one frame of an answer.
func (g *fullSnapshot) answer(cursor string) *hibernate.Frame {
	if g.frame == nil {
		g.frame = hibernate.TextFrame(g.size+len(g.rows)+len(g.channel)+128, func(dst []byte) []byte {
			dst = syncproto.AppendSyncStart(dst, g.channel)
			for _, r := range g.rows {
				dst = append(syncproto.AppendSeparator(dst), g.json[r.start:r.end]...)
			}
			return syncproto.AppendSyncEnd(dst, cursor)
		})
	}
	return g.frame
}

// update returns the snapshot as one frame for a client that did not ask.
func (g *fullSnapshot) update() *hibernate.Frame {
	if g.updateFrame == nil {
		g.updateFrame = g.encodeUpdate()
	}
	return g.updateFrame
}

func (g *fullSnapshot) encodeUpdate() *hibernate.Frame {
	all := slices.SortedFunc(slices.Values(g.rows), byStamp)
	size := g.size + len(g.rows)
	return hibernate.TextFrame(size+192, func(dst []byte) []byte {
		rows := make([]byte, 0, size)
		for _, r := range all {
			rows = append(syncproto.AppendSeparator(rows), g.json[r.start:r.end]...)
		}
		return syncproto.AppendUpdate(dst, g.channel, rows, "")
	})
}

// byStamp is the order of rows that are sent unasked.
func byStamp(a, b snapshotRow) int {
	return cmp.Or(pages.Compare(a.stamp, b.stamp), pages.Compare(a.id, b.id))
}

// A listing is the order in which the rows of a large channel, or of a delta, are sent. It is immutable and shared.
type listing struct {
	epoch string
	at    storage.Seq // the commit that it is as of
	rows  []snapshotRow
	gone  int    // of a delta: the number of rows up to the last tombstone; rows with a text are tombstones
	text  []byte // JSON
}

// A delta is the changes after a commit, while they are collected. It is immutable.
type delta struct {
	epoch string
	place storage.ChangePlace // how far the change log has been read
	until storage.Seq
	rows  []snapshotRow // those with a text are tombstones
	text  []byte
	begun bool
}

// maxDeltaRows is how many changed rows a delta has at most; each takes about 100 bytes of memory.
const maxDeltaRows = 16 << 10

// add adds a changed row: its id and stamp, and the whole row if it is a tombstone.
func (g *delta) add(rows *storage.Rows) (bytes int) {
	r := snapshotRow{id: rows.Value(0), stamp: pages.StampOf(rows), start: len(g.text)}
	if pages.IsGone(rows) {
		g.text = pages.AppendRow(g.text, rows)
	}
	r.end = len(g.text)
	g.rows = append(g.rows, r)
	return 64 + r.end - r.start
}

// listing returns the order in which the changes are sent. If a row has changed several times, its last change
// counts.
func (g *delta) listing() *listing {
	last := make(map[storage.Value]int, len(g.rows))
	for i, r := range g.rows {
		last[pages.SameID(r.id)] = i
	}
	rows := make([]snapshotRow, 0, len(last))
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
