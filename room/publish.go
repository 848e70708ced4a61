package room

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// What everybody in a room is sent of the rows that a commit has changed.

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

// rebase sends everybody a channel again, after a delete-all: an action has changed the
// table's definition, and every row may look different.
func (t *turn) rebase(channel, cursor string) {
	l := t.life
	if !slices.Contains(l.ns.channels, channel) {
		return
	}
	frames, err := l.resync(channel, cursor)
	if err != nil {
		l.log.Error("a table was redefined, and its rows cannot be sent", "channel", channel, "err", err)
		frames = []*hibernate.Frame{exception(channel, err)}
		t.breakOff(channel)
	}
	if to := t.audience(channel); len(to) > 0 {
		t.out = append(t.out, delivery{to: to, frames: frames})
	}
}

// resync returns a whole channel as updates after a delete-all.
func (l *life) resync(channel, cursor string) ([]*hibernate.Frame, error) {
	all := pages.Ordered{Limit: l.host.opts.MaxSnapshotBytes}
	rows, err := l.db.Table(channel).Live()
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

// broadcast sends changed rows of one channel to everybody but one, and gives them as
// they are encoded: until the next broadcast. The last frame has the cursor.
func (t *turn) broadcast(rows []storage.Row, except *hibernate.Connection, cursor string) []byte {
	l, channel := t.life, rows[0].Table
	encoded := pages.Encode(l.scratch, rows)
	if l.scratch = encoded.Bytes; cap(encoded.Bytes) > maxScratch { // the frames hold copies
		l.scratch = nil
	}
	if to := t.audience(channel); len(to) > 1 || len(to) == 1 && to[0] != except {
		t.out = append(t.out, delivery{to: to, except: except, frames: pages.Updates(channel, encoded, cursor)})
	}
	return encoded.Bytes
}
