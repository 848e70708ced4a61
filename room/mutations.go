package room

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// If a client numbers its actions, each is applied exactly once and in order, over retries, reconnects, restarts and
// crashes. The number that a client has reached is written in the transaction of the action.
//
//	_den_clients(client, subject, mutation, seen_at)
//
// An action that was run and failed uses its number up too, with the failure as its reply. Otherwise its client could
// never get past it. Some failures are retried first, see tries.go. An action keeps its number if it did not cause
// the failure: the room does not start, the disk is full, too many messages wait.

const (
	// seenEvery is the precision of seen_at: the index over that column is not updated for every action.
	seenEvery = time.Hour
	// maxMarks is how many clients' numbers a life keeps in memory.
	maxMarks = 4096
)

// A mark is the number that a client has reached.
type mark struct {
	client, subject string
	last            uint64 // the number that the turn in work has reached
	stored          uint64 // the number in the file; 0: the file does not have the client
	seen            int64  // seen_at in the file
	begun           bool   // the file does not have it, but its number 1 was tried
	hung            bool   // a try of it hung in an earlier life, and was counted

	owner *hibernate.Connection // the connection over which the client sends; nil: see takeOver
}

type clientKey struct{ client, subject string }

// numbers are the numbers that the clients of a room have reached.
type numbers struct {
	room   *room
	known  map[clientKey]*mark
	marked []*mark // of clients whose numbers the turn in work has raised
}

// markOf returns a client's mark.
func (nb *numbers) markOf(client, subject string) (*mark, error) {
	key := clientKey{client, subject}
	if m := nb.known[key]; m != nil {
		return m, nil
	}
	m := &mark{client: client, subject: subject}
	_, err := nb.room.db.Internal().First(func(row *storage.Rows) {
		m.stored, m.seen = uint64(row.Int(0)), row.Int(1)
		m.last = m.stored
	}, `SELECT mutation, seen_at FROM _den_clients WHERE client = ? AND subject = ?`, client, subject)
	if err != nil {
		return nil, err
	}
	if nb.known == nil || len(nb.known) >= maxMarks && len(nb.marked) == 0 {
		nb.known = make(map[clientKey]*mark)
	}
	nb.known[key] = m
	return m, nil
}

// outcomeOf returns the reply to an action whose failure is its outcome.
func outcomeOf(m *actionMessage, err error) *hibernate.Frame {
	code, text := ErrorCode(err)
	return replyFrame(256, syncproto.Reply{Channel: m.channel, ID: m.id, Number: m.fate(syncproto.NumberUsed), Code: code, Message: text})
}

func alreadyApplied() error {
	return &Error{Code: syncproto.CodeAlreadyApplied, Message: "The action was answered before, and the answer is gone.", cause: errBefore}
}

// numberedName returns the key of a numbered action.
func numberedName(client, subject string, mutation uint64) replies.Key {
	return replies.KeyOf('m', client, subject, binary.BigEndian.AppendUint64(nil, mutation))
}

// writeMarks writes the numbers that the turn has reached into its batch.
func (nb *numbers) writeMarks() error {
	if len(nb.marked) == 0 {
		return nil
	}
	now := nb.room.now()
	for _, m := range nb.marked {
		if err := nb.writeMark(m, max(now.UnixMilli(), madeAt(m.client, now))); err != nil {
			return err
		}
	}
	return nil
}

// writeMark writes a client's number, and once an hour when the client was seen: now, in Unix milliseconds, or the
// later time in its id.
func (nb *numbers) writeMark(m *mark, now int64) error {
	if m.stored != 0 && now-m.seen < seenEvery.Milliseconds() && now >= m.seen {
		_, err := nb.room.db.Internal().Exec(`UPDATE _den_clients SET mutation = ? WHERE client = ? AND subject = ?`,
			int64(m.last), m.client, m.subject)
		return err
	}
	_, err := nb.room.db.Internal().Exec(`INSERT INTO _den_clients (client, subject, mutation, seen_at) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET mutation = excluded.mutation, seen_at = excluded.seen_at`,
		m.client, m.subject, int64(m.last), now)
	m.seen = now // if the batch is lost: less than an hour too late, or not written
	return err
}

// One client id may be in two places: two tabs that share their storage, or a connection that has come back while the
// server believes that the old one is alive. Two that send the same queue would use each other's numbers. So the
// younger connection takes the queue over, and the older one is told to stop. The room finds the owner of a client
// among its connections, so ownership outlives the room's sleep.

// takeOver makes conn the connection over which the client of at sends. It refuses the action if a younger connection
// is the owner. It does not concern replies that were given before.
func (nb *numbers) takeOver(at *mark, conn *hibernate.Connection) error {
	if at.owner == conn {
		return nil
	}
	all := nb.room.connections()
	owner := at.owner
	if owner == nil || !slices.Contains(all, owner) {
		owner = youngest(all, at)
	}
	if owner != nil && owner.Serial > conn.Serial {
		at.owner = owner
		return &Error{Code: syncproto.CodeClientTaken, Message: "This client now sends its actions over a newer connection."}
	}
	at.owner = conn
	conn.SetNumbers(at.client)
	return nil
}

// youngest returns the youngest connection over which a client has sent, or nil.
func youngest(all []*hibernate.Connection, at *mark) (found *hibernate.Connection) {
	for _, c := range all {
		if c.Numbers() == at.client && c.Identity.Subject == at.subject && (found == nil || c.Serial > found.Serial) {
			found = c
		}
	}
	return found
}

// A room forgets a client that it has not seen for Options.ClientRetention, and would then take the client's number 1
// for that of a new client. So a client may put the time at which it was made into its id. If the room does not know
// such a client, and the client is old enough to have been forgotten, every number of it is refused before anything
// is applied.
//
//	client  13 decimal digits, Unix milliseconds by the client's clock · "." · at least 16 bytes
//
// Any other id is bare and has no time. The room ignores a time that is more than a day ahead: the id counts as bare.
// The room keeps a client until the time in its id is past the retention, too, so a clock that is ahead by less does
// no harm.

const (
	timeDigits    = 13
	minClientRest = 16
	maxClientLead = 24 * time.Hour
)

// madeAt returns the time in a client's id, in Unix milliseconds. It returns 0 for none, and for one that is ignored.
func madeAt(client string, now time.Time) int64 {
	digits, rest, found := strings.Cut(client, ".")
	if !found || len(digits) != timeDigits || len(rest) < minClientRest {
		return 0
	}
	var at int64
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0
		}
		at = at*10 + int64(c-'0')
	}
	if at > now.Add(maxClientLead).UnixMilli() {
		return 0
	}
	return at
}

// mayBeForgotten reports whether the room may have known a client that it does not know.
func (nb *numbers) mayBeForgotten(client string, now time.Time) bool {
	at := madeAt(client, now)
	return at != 0 && at <= now.Add(-nb.room.node.opts.ClientRetention).UnixMilli()
}

// purgeClients is how many expired clients are removed at once.
const purgeClients = 256

// purgeClients removes some of the clients that were not seen for the retention. It runs after the turn, so a client
// that comes back at the last moment stays.
func (nb *numbers) purgeClients(now time.Time) (more bool, err error) {
	before := now.Add(-nb.room.node.opts.ClientRetention).UnixMilli()
	if err := nb.purgeTries(now.Add(-nb.room.node.opts.ClientRetention)); err != nil {
		return false, err
	}
	removed, err := nb.room.db.Internal().Exec(`DELETE FROM _den_clients WHERE (client, subject) IN
		(SELECT client, subject FROM _den_clients WHERE seen_at < ? ORDER BY seen_at LIMIT ?)`, before, purgeClients)
	if err != nil {
		return false, err
	}
	if removed.RowsAffected > 0 {
		nb.known = nil // a client that comes is read again
	}
	return removed.RowsAffected == purgeClients, nil
}

// purgeTries removes the tries of expired clients.
func (nb *numbers) purgeTries(before time.Time) error {
	_, err := nb.room.db.Internal().Exec(`DELETE FROM _den_tries WHERE at < ?`, before.UnixMilli())
	return err
}
