package room

import (
	"cmp"
	"errors"
	"math"
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
	taken   int           // and of the changes behind it so many are in the rows, while it is brought up to date
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

// gather takes the gathering of a channel one step further. ready says whether it is there, and up to date.
func (t *turn) gather(channel string) (g *gathering, ready bool, err error) {
	l := t.life
	g = l.gathered[channel]
	if g != nil && g.whole && l.db.Seq()-g.at > gatherAge {
		g = nil
	}
	if g == nil {
		g = &gathering{channel: channel, at: l.db.Seq(), rowids: l.db.Table(channel).ScansByRowid()}
		if l.gathered == nil {
			l.gathered = make(map[string]*gathering)
		}
		l.gathered[channel] = g
	}
	g.used = l.host.opts.Clock.Now()
	ready, err = t.gatherStep(g)
	if err != nil {
		delete(l.gathered, channel)
	}
	if errors.Is(err, storage.ErrForgotten) && g.at != l.db.Seq() { // the table was redefined meanwhile
		return t.gather(channel)
	}
	return g, ready, err
}

func (t *turn) gatherStep(g *gathering) (ready bool, err error) {
	if !g.whole {
		if err := t.readPart(g); err != nil || !g.whole {
			return false, err
		}
	}
	if g.large {
		return true, nil // whoever goes through it asks for the changes since by himself
	}
	return t.freshen(g)
}

// readPart reads the next part of the table.
func (t *turn) readPart(g *gathering) error {
	l := t.life
	rows, err := l.db.Table(g.channel).Scan(g.place, gatherRows)
	if err != nil {
		return err
	}
	size, last := 0, len(rows.Columns())
	var part []gathered
	n, more, err := l.quota.Read(rows, func(rows *storage.Rows) int {
		g.place = rows.Value(last)
		if pages.IsGone(rows) {
			return 0
		}
		row := g.encode(rows)
		row.rowid = g.rowidOf(g.place)
		part = append(part, row)
		size += row.end - row.start
		return row.end - row.start
	})
	if err != nil {
		return err
	}
	g.whole = more && n < gatherRows
	g.size += size
	g.merge(part)
	l.bound(g)
	return nil
}

// bound turns a gathering that has become large into a list of what is to be read.
func (l *life) bound(g *gathering) {
	if !g.large && g.size > l.wholeAnswer() {
		g.large = true
		slices.SortFunc(g.rows, g.order)
	}
	if g.large {
		g.text = g.text[:0]
	}
	if len(g.rows) > l.host.gatherMost {
		*g = gathering{channel: g.channel, at: g.at, whole: true, large: true, over: true, size: g.size}
	}
}

func (l *life) wholeAnswer() int { return min(wholeAnswer, l.host.opts.MaxSnapshotBytes) }

// freshen brings a whole gathering a step further to the room's present commit.
func (t *turn) freshen(g *gathering) (ready bool, err error) {
	l := t.life
	if g.at == l.db.Seq() {
		return true, nil
	}
	rows, err := l.db.Table(g.channel).SincePart(storage.ChangePlace{Seq: g.at, Taken: g.taken}, l.db.Seq())
	if err != nil {
		return false, err
	}
	g.frame, g.unasked = nil, nil
	changed := make(map[storage.Value]bool)
	var part []gathered
	_, _, err = l.quota.Read(rows, func(rows *storage.Rows) int {
		changed[pages.SameID(rows.Value(0))] = true
		if pages.IsGone(rows) {
			return 0
		}
		row := g.encode(rows)
		part = append(part, row)
		return row.end - row.start
	})
	if err != nil {
		return false, err
	}
	g.at, g.taken = rows.Place().Seq, rows.Place().Taken
	rowids := make(map[storage.Value]int64)
	g.rows = slices.DeleteFunc(g.rows, func(r gathered) bool {
		id := pages.SameID(r.id)
		if changed[id] {
			rowids[id] = r.rowid
			g.size -= r.end - r.start
		}
		return changed[id]
	})
	for i := range part {
		r := &part[i]
		if rowid, there := rowids[pages.SameID(r.id)]; there {
			r.rowid = rowid
		} else if g.rowids {
			r.rowid = math.MaxInt64 // it has come since
		}
		g.size += r.end - r.start
	}
	g.merge(part)
	g.compact()
	l.bound(g)
	return rows.AtEnd(), nil
}

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

// dropGathered lets gatherings go that nobody asks for any more.
func (l *life) dropGathered() {
	if len(l.gathered) == 0 {
		return
	}
	now := l.host.opts.Clock.Now()
	for channel, g := range l.gathered {
		if now.Sub(g.used) > gatherIdle {
			delete(l.gathered, channel)
		}
	}
}

// byStamp is the order of all that comes unasked.
func byStamp(a, b gathered) int {
	return cmp.Or(pages.Compare(a.stamp, b.stamp), pages.Compare(a.id, b.id))
}
