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

// A gathering is a channel's live rows as a room puts them together for the published
// client: all of them as of one commit, and sorted. The table is read in parts, one a turn,
// and the room serves others between them; what changed meanwhile is read again at the
// end. All clients who ask at the same time share one gathering, and as long as somebody asks it
// follows the room: the next one costs what has changed since the last.

const (
	// wholeAnswer is how much of a channel goes out as one frame, in bytes of JSON.
	wholeAnswer = 4 << 20
	// gatherRows is how many rows a gathering reads with one query.
	gatherRows = 10_000
	// gatherMost is how many rows a gathering has at the most; each takes some 100 bytes of
	// memory besides its JSON, of which there is none above wholeAnswer.
	gatherMost = 500_000
	// gatherAge is how many commits a gathering may lie back, and be brought up to date.
	gatherAge = 10_000
	// gatherIdle is how long a gathering is kept that nobody asks for.
	gatherIdle = 10 * time.Second
)

type gathering struct {
	channel string
	at      storage.Seq   // the rows are those as of this commit; until it is whole, where it began
	taken   int           // so many of the changes after it are in the rows, while it is brought up to date
	place   storage.Value // how far the table has been read
	whole   bool          // it has been read to its end
	large   bool          // over wholeAnswer: the rows are without JSON and by ascending stamp, not by creation
	over    bool          // over gatherMost: the rows are not there
	rowids  bool          // places are rowids
	rows    []gathered
	text    []byte
	size    int // bytes of JSON of the rows; not counted further once it is large
	frame   *hibernate.Frame
	unasked *hibernate.Frame // as update
	used    time.Time
}

type gathered struct {
	id, created, stamp storage.Value
	rowid              int64 // 0 where there is none
	start, end         int   // in text
}

func (r *room) wholeAnswer() int { return min(wholeAnswer, r.node.opts.MaxSnapshotBytes) }

// compact drops the JSON of rows that have changed, once it is most of what there is.
func (g *gathering) compact() {
	if len(g.text) < 2*g.size+64<<10 {
		return
	}
	text := make([]byte, 0, g.size)
	for i := range g.rows {
		r := &g.rows[i]
		start := len(text)
		text = append(text, g.text[r.start:r.end]...)
		r.start, r.end = start, len(text)
	}
	g.text = text
}

func (g *gathering) encode(rows *storage.Rows) gathered {
	start := len(g.text)
	g.text = pages.AppendRow(g.text, rows)
	created := rows.Value(len(rows.Columns()) - 3)
	return gathered{id: rows.Value(0), created: created, stamp: pages.StampOf(rows), start: start, end: len(g.text)}
}

// rowidOf is the rowid that a place is.
func (g *gathering) rowidOf(place storage.Value) int64 {
	if rowid, is := place.(int64); is && g.rowids {
		return rowid
	}
	return 0
}

// order is that in which rows were created; in a large gathering that of their stamps.
func (g *gathering) order(a, b gathered) int {
	if g.large {
		return byStamp(a, b)
	}
	return cmp.Or(pages.Compare(a.created, b.created), cmp.Compare(a.rowid, b.rowid), pages.Compare(a.id, b.id))
}

// merge puts rows among those that are there.
func (g *gathering) merge(part []gathered) {
	slices.SortFunc(part, g.order)
	if len(g.rows) == 0 || len(part) == 0 || g.order(g.rows[len(g.rows)-1], part[0]) <= 0 {
		g.rows = append(g.rows, part...)
		return
	}
	merged := make([]gathered, 0, len(g.rows)+len(part))
	for old := g.rows; len(old) > 0 || len(part) > 0; {
		if len(part) == 0 || len(old) > 0 && g.order(old[0], part[0]) <= 0 {
			merged, old = append(merged, old[0]), old[1:]
		} else {
			merged, part = append(merged, part[0]), part[1:]
		}
	}
	g.rows = merged
}

// answer is the gathering as one frame.
func (g *gathering) answer(cursor string) *hibernate.Frame {
	if g.frame == nil {
		g.frame = hibernate.TextFrame(g.size+len(g.rows)+len(g.channel)+128, func(dst []byte) []byte {
			dst = syncproto.AppendSyncStart(dst, g.channel)
			for _, r := range g.rows {
				dst = append(syncproto.AppendSeparator(dst), g.text[r.start:r.end]...)
			}
			return syncproto.AppendSyncEnd(dst, cursor)
		})
	}
	return g.frame
}

// update is the gathering as one frame that nobody asked for.
func (g *gathering) update() *hibernate.Frame {
	if g.unasked == nil {
		g.unasked = g.encodeUpdate()
	}
	return g.unasked
}

func (g *gathering) encodeUpdate() *hibernate.Frame {
	all := slices.SortedFunc(slices.Values(g.rows), byStamp)
	size := g.size + len(g.rows)
	return hibernate.TextFrame(size+192, func(dst []byte) []byte {
		rows := make([]byte, 0, size)
		for _, r := range all {
			rows = append(syncproto.AppendSeparator(rows), g.text[r.start:r.end]...)
		}
		return syncproto.AppendUpdate(dst, g.channel, rows, "")
	})
}

// byStamp is the order of all that comes unasked.
func byStamp(a, b gathered) int {
	return cmp.Or(pages.Compare(a.stamp, b.stamp), pages.Compare(a.id, b.id))
}

// A listing is the order in which a large channel is sent, or many changes. It is immutable, and shared.
type listing struct {
	epoch string
	at    storage.Seq // as of which commit
	rows  []gathered
	gone  int    // of changes: the rows up to the last tombstone. Those of them that stand in text are tombstones
	text  []byte // JSON
}

// A gleaning is the changes after a commit, as they are put together. It is immutable.
type gleaning struct {
	epoch string
	place storage.ChangePlace // how far the log has been read
	until storage.Seq
	rows  []gathered // those with a text are tombstones
	text  []byte
	begun bool
}

// gleanMost is how many changed rows are gleaned at the most; each takes some 100 bytes of memory.
const gleanMost = 16 << 10

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
