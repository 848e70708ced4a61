package room

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/storage"
)

// How a room reads rows for clients, within the quota of a turn: live rows by id, changes, and whole channels
// (snapshot.go).

// A reader reads the rows of channels for clients.
type reader struct {
	room  *room
	pages pageCache
	full  map[string]*fullSnapshot // by channel
	quota pages.Quota              // what the turn in work may still read for clients
}

func (rd *reader) newQuota() pages.Quota {
	return pages.NewQuota(rd.room.node.opts.Clock, rd.room.node.opts.MaxSnapshotBytes)
}

// forget drops all rows that have been read.
func (rd *reader) forget() { rd.pages, rd.full = pageCache{}, nil }

// readChanges reads what has changed in a channel after a place, up to the commit until. It moves the place on. done
// says that nothing is left.
func (rd *reader) readChanges(channel string, at *storage.ChangePlace, until storage.Seq, see func(*storage.Rows) (bytes int)) (done bool, err error) {
	for more := true; more && !done; {
		rows, err := rd.room.db.Table(channel).SincePart(*at, until)
		if err != nil {
			return false, err
		}
		if _, more, err = rd.quota.Read(rows, see); err != nil {
			return false, err
		}
		*at, done = rows.Place(), rows.AtEnd()
		more = more && rd.quota.Row(0)
	}
	return done, nil
}

// changed returns what has changed in a channel after a commit.
func (rd *reader) changed(channel string, since storage.Seq) (*pages.Ordered, error) {
	o := &pages.Ordered{Limit: rd.room.node.opts.MaxSnapshotBytes}
	rows, err := rd.room.db.Table(channel).Since(since)
	if err != nil {
		return nil, err
	}
	return o, o.AddAll(rows)
}

// changedSoon returns what has changed in a channel after a commit. It leaves out rows whose last change is after the
// commit until. soon is false if there is more than the turn may still read.
func (rd *reader) changedSoon(channel string, since, until storage.Seq) (o *pages.Ordered, soon bool, err error) {
	if rd.quota.Spent() {
		return nil, false, nil
	}
	rows, err := rd.room.db.Table(channel).SincePart(storage.ChangePlace{Seq: since}, until)
	if err != nil {
		return nil, false, err
	}
	o = &pages.Ordered{Limit: math.MaxInt}
	_, more, err := rd.quota.Read(rows, o.Add)
	if err != nil || !more {
		return nil, false, err
	}
	return o, rows.AtEnd(), nil
}

// buildFull reads the next part of a channel's full snapshot. ready says whether the snapshot is complete and up to
// date.
func (rd *reader) buildFull(channel string) (g *fullSnapshot, ready bool, err error) {
	g = rd.full[channel]
	if g != nil && g.whole && rd.room.db.Seq()-g.at > maxSnapshotLag {
		g = nil
	}
	if g == nil {
		g = &fullSnapshot{channel: channel, at: rd.room.db.Seq(), rowids: rd.room.db.Table(channel).ScansByRowid()}
		if rd.full == nil {
			rd.full = make(map[string]*fullSnapshot)
		}
		rd.full[channel] = g
	}
	g.used = rd.room.now()
	ready, err = rd.buildStep(g)
	if err != nil {
		delete(rd.full, channel)
	}
	if errors.Is(err, storage.ErrForgotten) && g.at != rd.room.db.Seq() { // the table was redefined meanwhile
		return rd.buildFull(channel)
	}
	return g, ready, err
}

func (rd *reader) buildStep(g *fullSnapshot) (ready bool, err error) {
	if !g.whole {
		if err := rd.readPart(g); err != nil || !g.whole {
			return false, err
		}
	}
	if g.large {
		return true, nil // the listing of a large channel asks for the changes itself
	}
	return rd.refresh(g)
}

// readPart reads the next part of the table.
func (rd *reader) readPart(g *fullSnapshot) error {
	rows, err := rd.room.db.Table(g.channel).Scan(g.place, scanRows)
	if err != nil {
		return err
	}
	size, last := 0, len(rows.Columns())
	var part []snapshotRow
	n, more, err := rd.quota.Read(rows, func(rows *storage.Rows) int {
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
	g.whole = more && n < scanRows
	g.size += size
	g.merge(part)
	rd.bound(g)
	return nil
}

// bound drops the JSON of a snapshot that has become large, and the rows if there are too many.
func (rd *reader) bound(g *fullSnapshot) {
	if !g.large && g.size > rd.room.wholeAnswer() {
		g.large = true
		slices.SortFunc(g.rows, g.order)
	}
	if g.large {
		g.json = g.json[:0]
	}
	if len(g.rows) > rd.room.node.maxSnapshotRows {
		*g = fullSnapshot{channel: g.channel, at: g.at, whole: true, large: true, tooMany: true, size: g.size}
	}
}

// refresh brings a whole snapshot closer to the room's current commit.
func (rd *reader) refresh(g *fullSnapshot) (ready bool, err error) {
	if g.at == rd.room.db.Seq() {
		return true, nil
	}
	rows, err := rd.room.db.Table(g.channel).SincePart(storage.ChangePlace{Seq: g.at, Taken: g.applied}, rd.room.db.Seq())
	if err != nil {
		return false, err
	}
	g.frame, g.updateFrame = nil, nil
	changed := make(map[storage.Value]bool)
	var part []snapshotRow
	_, _, err = rd.quota.Read(rows, func(rows *storage.Rows) int {
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
	g.at, g.applied = rows.Place().Seq, rows.Place().Taken
	rowids := make(map[storage.Value]int64)
	g.rows = slices.DeleteFunc(g.rows, func(r snapshotRow) bool {
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
			r.rowid = math.MaxInt64 // the row is newer than the snapshot
		}
		g.size += r.end - r.start
	}
	g.merge(part)
	g.compact()
	rd.bound(g)
	return rows.AtEnd(), nil
}

// dropIdle drops the full snapshots that nobody has asked for within snapshotIdle.
func (rd *reader) dropIdle() {
	if len(rd.full) == 0 {
		return
	}
	now := rd.room.now()
	for channel, g := range rd.full {
		if now.Sub(g.used) > snapshotIdle {
			delete(rd.full, channel)
		}
	}
}

// snapshot returns the step of a channel's snapshot that begins after an id; nil is the beginning. A step that was
// read for another client costs nothing.
func (rd *reader) snapshot(channel string, after storage.Value) (step, error) {
	if s, there := rd.pages.get(channel, rd.room.db.Seq(), after); there {
		return s, nil
	}
	s, err := rd.readStep(channel, after)
	if err == nil {
		rd.pages.put(channel, rd.room.db.Seq(), after, s)
	}
	return s, err
}

// A channel of any size is sent in steps, by id, one step a turn, and the room serves other messages between them.
// The connection's session posts the message for the next step when it has the answer to the last. So that message
// counts among the connection's messages in work, is retried if the room fails, and ends with the session.
//
// The whole is exact as of the last step's commit although others write meanwhile. Each page shows its rows as they
// are when it is read. From then on the connection gets every change of those rows, like all others. So in the end
// the client has each row as the room has it. A row that changes while the table is read may come to the client
// twice.

const (
	// snapshotRows is how many rows one query looks at.
	snapshotRows = 20_000
	// maxCachedPages is how much of one snapshot a room keeps encoded, in bytes.
	maxCachedPages = 4 << 20
)

// A step is a part of a snapshot.
type step struct {
	frames []*hibernate.Frame
	size   int
	last   storage.Value // the id of its last row; the next step begins after it
	done   bool          // it is the last step
}

func (rd *reader) readStep(channel string, after storage.Value) (s step, err error) {
	rows, err := rd.room.db.Table(channel).Page(after, snapshotRows)
	if err != nil {
		return step{}, err
	}
	var live pages.Pager
	n, more, err := rd.quota.Read(rows, func(rows *storage.Rows) int {
		s.last = rows.Value(0)
		if pages.IsGone(rows) {
			return 0
		}
		return live.Add(rows)
	})
	if err != nil {
		return step{}, err
	}
	s.size = live.Total
	if s.done = more && n < snapshotRows; s.done {
		s.frames = live.SyncFrames(channel, rd.room.cursor())
	} else {
		s.frames = live.PartFrames(channel, rd.room.cursor())
	}
	return s, nil
}

// A pageCache keeps the encoded snapshot of one channel, or its beginning, until the room changes. So many clients
// that come at once share one encoding and its memory.
type pageCache struct {
	channel string
	seq     storage.Seq
	size    int
	steps   map[string]step // by the id after which they begin
}

func (p *pageCache) get(channel string, seq storage.Seq, after storage.Value) (s step, there bool) {
	if p.channel != channel || p.seq != seq {
		return step{}, false
	}
	s, there = p.steps[stepName(after)]
	return s, there
}

func (p *pageCache) put(channel string, seq storage.Seq, after storage.Value, s step) {
	if p.channel != channel || p.seq != seq || p.steps == nil {
		*p = pageCache{channel: channel, seq: seq, steps: make(map[string]step)}
	}
	if p.size+s.size <= maxCachedPages {
		p.size += s.size
		p.steps[stepName(after)] = s
	}
}

func stepName(after storage.Value) string { return fmt.Sprintf("%T %v", after, after) }

// pickRows is the maximum of rows of a listing that one query reads, and firstPick is how many the first query of a
// turn reads. Each further query reads twice or half as many, depending on the rows' size, because the clock is not
// checked within a query.
const (
	pickRows  = 64
	firstPick = 4
)

// nextPick returns how many rows to read next. The last query read rows rows in bytes bytes, and left bytes may still
// be read.
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

// pick reads rows of a listing. It leaves out those that have changed since. more says whether the turn may read on.
func (rd *reader) pick(channel string, list *listing, some []snapshotRow, o *pages.Ordered) (more bool, err error) {
	ids := make([]storage.Value, 0, len(some))
	more = true
	for _, r := range some {
		if len(list.text) > 0 && r.end > r.start {
			o.AddGone(r.stamp, r.id, list.text[r.start:r.end])
			more = rd.quota.Row(r.end - r.start)
		} else {
			ids = append(ids, r.id)
		}
	}
	rows, err := rd.room.db.Table(channel).Pick(ids)
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
		more = rd.quota.Row(bytes)
	}
	return more, rows.Err()
}

// resync returns a whole channel as updates, after a delete-all.
func (rd *reader) resync(channel, cursor string) ([]*hibernate.Frame, error) {
	all := pages.Ordered{Limit: rd.room.node.opts.MaxSnapshotBytes}
	rows, err := rd.room.db.Table(channel).Live()
	if err == nil {
		err = all.AddAll(rows)
	}
	if err != nil {
		return nil, err
	}
	if all.Total == 0 {
		return []*hibernate.Frame{deleteAll(channel, cursor)}, nil
	}
	frames, err := all.Updates(channel, cursor)
	return append([]*hibernate.Frame{deleteAll(channel, "")}, frames...), err
}
