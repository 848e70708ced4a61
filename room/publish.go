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

// How a room sends the rows that a commit has changed.

// A publisher sends changed rows.
type publisher struct {
	room    *room
	holds   *holds
	reader  *reader
	syncs   *pendingSyncs
	scratch []byte // encoded rows of the commit in work
}

// publish makes the frames for the rows that a commit has changed: the sender's reply, with the rows of the channel
// that it named, and updates for everybody else. It returns the reply and does not send it. Rows of other channels
// reach the sender as updates before it. m is nil if the commit has no sender. mine are the reply's rows, valid until
// the next broadcast.
func (pb *publisher) publish(t *turn, commit storage.Commit, m *actionMessage, value json.RawMessage) (reply *hibernate.Frame, mine []byte) {
	groups := byTable(commit.Rows)
	if m != nil { // the sender's channel comes last, see catchup.go
		slices.SortStableFunc(groups, func(a, b []storage.Row) int {
			return cmp.Compare(own(a, m), own(b, m))
		})
	}
	for i, rows := range groups {
		cursor := ""
		if i == len(groups)-1 && len(commit.Rebased) == 0 {
			cursor = pb.room.cursor()
		}
		if own(rows, m) == 0 {
			pb.broadcast(t, rows, nil, cursor)
			continue
		}
		except := m.conn
		if len(commit.Rebased) > 0 {
			except = nil // the cursor comes before the reply, so these rows must too
		}
		mine = pb.broadcast(t, rows, except, cursor)
	}
	for i, name := range commit.Rebased {
		cursor := ""
		if i == len(commit.Rebased)-1 {
			cursor = pb.room.cursor()
		}
		pb.rebase(t, name, cursor)
	}
	if m == nil {
		return nil, nil
	}
	cursor := pb.room.cursor()
	reply = replyFrame(len(mine)+len(value)+192, syncproto.Reply{
		Channel: m.channel, ID: m.id, Number: m.fate(syncproto.NumberUsed), Rows: mine, Value: value, Cursor: cursor,
	})
	return reply, mine
}

// own returns 1 for rows of the channel that an action named, otherwise 0.
func own(rows []storage.Row, m *actionMessage) int {
	if m != nil && rows[0].Table == m.channel {
		return 1
	}
	return 0
}

// rebase sends everybody a channel again, after a delete-all: an action has changed the table's definition, so every
// row may look different.
func (pb *publisher) rebase(t *turn, channel, cursor string) {
	if !slices.Contains(pb.room.ns.channels, channel) {
		return
	}
	frames, err := pb.reader.resync(channel, cursor)
	if err != nil {
		pb.room.log.Error("a table was redefined, and its rows cannot be sent", "channel", channel, "err", err)
		frames = []*hibernate.Frame{exception(channel, err)}
		pb.syncs.breakOff(t, channel)
	}
	if to := pb.holds.audience(t, channel); len(to) > 0 {
		t.out = append(t.out, delivery{to: to, frames: frames})
	}
}

// maxScratch is how much memory a room keeps for encoding rows, in bytes.
const maxScratch = 64 << 10

// byTable groups rows by their tables, in their order. An action may change tables alternately.
func byTable(rows []storage.Row) (groups [][]storage.Row) {
	for len(rows) > 0 {
		var first []storage.Row
		first, rows = firstTable(rows)
		groups = append(groups, first)
	}
	return groups
}

// firstTable separates the rows of the first row's table from the others, both in their order.
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

// broadcast sends changed rows of one channel to everybody except one connection. It returns the encoded rows, which
// are valid until the next broadcast. The last frame has the cursor.
func (pb *publisher) broadcast(t *turn, rows []storage.Row, except *hibernate.Connection, cursor string) []byte {
	channel := rows[0].Table
	encoded := pages.Encode(pb.scratch, rows)
	if pb.scratch = encoded.Bytes; cap(encoded.Bytes) > maxScratch { // the frames hold copies
		pb.scratch = nil
	}
	if to := pb.holds.audience(t, channel); len(to) > 1 || len(to) == 1 && to[0] != except {
		t.out = append(t.out, delivery{to: to, except: except, frames: pages.Updates(channel, encoded, cursor)})
	}
	return encoded.Bytes
}

// succeed sends the messages of a hook that has succeeded, and the rows that it has changed.
func (pb *publisher) succeed(t *turn, c *Context, commit storage.Commit) {
	t.out = append(t.out, c.out...)
	pb.publish(t, commit, nil, nil)
}
