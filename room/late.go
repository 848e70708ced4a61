package room

import (
	"encoding/json"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// The published client gives an action up 10 s after it has sent it, takes back what it showed, and drops a reply that
// comes later, with its rows. Its author is left out of the broadcast. So where a room was held up, by its disk or by a
// slow action before, the rows follow the reply as an update, which the client merges by id.

// lateReply is after how long in the server a reply may come too late: the way there and back counts for the client, too.
const lateReply = 5 * time.Second

// followLate sends the rows of late replies once more, to clients without cursors.
func (t *turn) followLate() {
	now := t.life.host.opts.Clock.Now()
	for _, a := range t.answers {
		m, is := a.env.Message.(*actionMessage)
		if !is || m.reply == nil || a.err != nil || now.Sub(m.came) < lateReply || m.conn.Returned || t.heldOn(m.conn, m.channel) != nil {
			continue
		}
		if peers, err := t.life.peer(m.conn); err != nil || len(peers) == 0 {
			continue // it has asked for nothing, or by a cursor
		}
		var reply storedReply
		if err := json.Unmarshal(m.reply.Payload(), &reply); err != nil || len(reply.Result) < 2 {
			continue
		}
		rows := reply.Result[1 : len(reply.Result)-1]
		t.send(m.conn, hibernate.TextFrame(len(rows)+len(m.channel)+128, func(dst []byte) []byte {
			return syncproto.AppendUpdate(dst, m.channel, rows, "")
		}))
	}
}
