package room

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// A client that numbers its actions has each applied exactly once, and in order: over
// retries, reconnects, restarts and crashes. The number that a client has reached is
// written with the action that it belongs to, in one transaction.
//
//	_den_clients(client, subject, mutation, seen_at)
//
// An action that was run and failed uses its number up too, with the failure as its reply:
// else its client could never get past it. Some failures are tried again first, see tries.go. What
// is not the action's own doing (a room that does not start, a full disk, too many messages)
// keeps the number.

const (
	// seenEvery is how exactly seen_at is kept: the index over it is not for every action.
	seenEvery = time.Hour
	// maxMarks is how many clients' numbers a life keeps in memory.
	maxMarks = 4096
)

// A mark is how far a client has come.
type mark struct {
	client, subject string
	last            uint64 // the number that the turn in work has reached
	stored          uint64 // the number in the file; 0: the client is not there
	seen            int64  // seen_at in the file
	begun           bool   // it is not in the file, but its number 1 was tried
	hung            bool   // a try of it hung in an earlier life, and was counted

	owner *hibernate.Connection // over which the client sends; nil: see takeOver
}

type clientKey struct{ client, subject string }

// marks belongs to one life.
type marks struct {
	known map[clientKey]*mark
}

// markOf gives a client's mark.
func (t *turn) markOf(client, subject string) (*mark, error) {
	l := t.life
	key := clientKey{client, subject}
	if m := l.marks.known[key]; m != nil {
		return m, nil
	}
	m := &mark{client: client, subject: subject}
	_, err := l.db.Internal().First(func(row *storage.Rows) {
		m.stored, m.seen = uint64(row.Int(0)), row.Int(1)
		m.last = m.stored
	}, `SELECT mutation, seen_at FROM _den_clients WHERE client = ? AND subject = ?`, client, subject)
	if err != nil {
		return nil, err
	}
	if l.marks.known == nil || len(l.marks.known) >= maxMarks && len(t.marked) == 0 {
		l.marks.known = make(map[clientKey]*mark)
	}
	l.marks.known[key] = m
	return m, nil
}

// mutate applies a numbered action when its turn has come, or answers it as before.
func (t *turn) mutate(m *actionMessage) error {
	if err := t.releaseAll(m.conn, ""); err != nil { // the published client does not number its actions
		return t.storageError(err)
	}
	at, err := t.markOf(m.client, m.conn.Identity.Subject)
	if err != nil {
		return t.storageError(err)
	}
	now := t.life.host.opts.Clock.Now()
	switch {
	case m.mutation <= at.last && bug.On("twice"):
		done, err := t.apply(m)
		if err == nil {
			t.send(m.conn, done.reply)
		}
		return err
	case m.mutation <= at.last:
		return t.repeat(m)
	case at.last == 0 && t.life.mayBeForgotten(m.client, now):
		return notKnown(0, now)
	}
	if err := t.takeOver(at, m.conn); err != nil {
		return err
	}
	if m.mutation != at.last+1 {
		return t.outOfTurn(at, now)
	}
	at.begun = true
	return t.run(m, at)
}

// run runs the action whose turn has come, and stores the outcome of its number unless the number is kept.
func (t *turn) run(m *actionMessage, at *mark) error {
	if at.hung {
		tries, err := t.life.triesOf(m)
		if err != nil {
			return t.storageError(err)
		}
		if tries >= maxTries {
			t.storeOutcome(m, at, applied{reply: outcomeOf(m, poisoned())})
			return nil
		}
	}
	t.life.running.Store(m)
	done, err := t.apply(m)
	t.life.running.Store(nil)
	if err == nil {
		t.storeOutcome(m, at, done)
		return nil
	}
	means := judge(err)
	switch {
	case means == verdictKept:
		return err
	case m.mutation != at.last+1: // it has lost the batch, and with it one before it
		return storage.ErrBatchLost
	case means == verdictTried:
		tries, failed := t.countTry(m)
		if failed != nil {
			return t.storageError(failed)
		}
		if tries < maxTries {
			return tryAgain(err)
		}
		err = poisoned()
	}
	t.storeOutcome(m, at, applied{reply: outcomeOf(m, err)})
	return nil
}

// storeOutcome uses a number up: the reply is its outcome.
func (t *turn) storeOutcome(m *actionMessage, at *mark, done applied) {
	t.send(m.conn, done.reply)
	t.remember(m, done)
	if at.last == at.stored {
		t.marked = append(t.marked, at)
	}
	at.last = m.mutation
	if at.hung {
		at.hung = false
		t.life.host.hangs.Forget(recent.Client{Room: t.life.key, ID: at.client, Subject: at.subject})
	}
}

// outcomeOf returns the reply to an action whose failure is its outcome.
func outcomeOf(m *actionMessage, err error) *hibernate.Frame {
	code, text := ErrorCode(err)
	return replyFrame(256, syncproto.Reply{Channel: m.channel, ID: m.id, Number: m.fate(syncproto.NumberUsed), Code: code, Message: text})
}

// repeat answers a numbered action that was answered before.
func (t *turn) repeat(m *actionMessage) error {
	reply, state, err := t.life.findReply(m)
	switch {
	case err != nil:
		return t.storageError(err)
	case state == replies.None:
		err = alreadyApplied()
	case state == replies.Other:
		err = duplicateID()
	}
	t.stand(m, reply, err)
	if err != nil {
		return err
	}
	return t.answerAgain(m, reply)
}

// errBefore is the cause of what is said of a number that was used up before.
var errBefore = errors.New("room: the number was used up before")

func alreadyApplied() error {
	return &Error{Code: syncproto.CodeAlreadyApplied, Message: "The action was answered before, and the answer is gone.", cause: errBefore}
}

// A gapError says which number a client has to go on from.
type gapError struct{ next uint64 }

func (g *gapError) Error() string { return fmt.Sprintf("room: mutation %d has not come", g.next) }

// outOfTurn says what is to come before a number that is too high. Nothing of a client that is not
// known is applied before it was told so.
func (t *turn) outOfTurn(at *mark, now time.Time) error {
	if at.last == 0 && !at.begun {
		tried, err := t.life.wasTried(at.client, at.subject)
		if err != nil {
			return t.storageError(err)
		}
		if !tried {
			return notKnown(1, now)
		}
		at.begun = true
	}
	gap := &gapError{next: at.last + 1}
	return &Error{Code: syncproto.CodeMutationGap, Message: fmt.Sprintf("Number %d has not come yet.", gap.next), cause: gap}
}

// numberedName makes the key of a numbered action.
func numberedName(client, subject string, mutation uint64) replies.Key {
	return replies.KeyOf('m', client, subject, binary.BigEndian.AppendUint64(nil, mutation))
}

// writeMarks writes the numbers that the turn has reached into its batch.
func (t *turn) writeMarks() error {
	l := t.life
	if len(t.marked) == 0 {
		return nil
	}
	now := l.host.opts.Clock.Now()
	for _, m := range t.marked {
		if err := l.writeMark(m, max(now.UnixMilli(), madeAt(m.client, now))); err != nil {
			return err
		}
	}
	return nil
}

// writeMark writes a client's number, and sometimes when it was seen: now, in Unix milliseconds, or the time
// in its id if that is later.
func (l *life) writeMark(m *mark, now int64) error {
	if m.stored != 0 && now-m.seen < seenEvery.Milliseconds() && now >= m.seen {
		_, err := l.db.Internal().Exec(`UPDATE _den_clients SET mutation = ? WHERE client = ? AND subject = ?`,
			int64(m.last), m.client, m.subject)
		return err
	}
	_, err := l.db.Internal().Exec(`INSERT INTO _den_clients (client, subject, mutation, seen_at) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET mutation = excluded.mutation, seen_at = excluded.seen_at`,
		m.client, m.subject, int64(m.last), now)
	m.seen = now // if the batch is lost: too late by less than the hour, or not there
	return err
}

// findReply looks for what an action was answered with when it came before.
func (l *life) findReply(m *actionMessage) (*hibernate.Frame, replies.State, error) {
	return l.replies.Find(m.key, m.digest, l.host.opts.Clock.Now())
}

// writeReplies writes the replies that wait into the open batch.
func (l *life) writeReplies() error {
	if l.replies.Pending() == 0 {
		return nil
	}
	now := l.host.opts.Clock.Now()
	if err := l.replies.Write(now); err != nil {
		return err
	}
	l.remind(now)
	return nil
}

// remember keeps an action's reply for when it comes again. Of one that is too long the outcome is kept,
// without the rows, and also without the value if that alone is too long.
func (t *turn) remember(m *actionMessage, done applied) {
	r := &t.life.replies
	reply := done.reply
	if !r.Fits(len(reply.Payload())) {
		if reply = done.short(m, done.value); !r.Fits(len(reply.Payload())) {
			reply = done.short(m, nil)
		}
	}
	if t.remembered == 0 {
		t.waiting = r.Pending()
	}
	t.remembered++
	r.Add(m.key, m.digest, reply.Payload())
}

// keep writes the turn's replies and numbers into its batch, and kept is called when
// the batch is durable.
func (t *turn) keep() error {
	if err := t.begin(); err != nil {
		return err
	}
	if err := t.life.writeReplies(); err != nil {
		return err
	}
	return t.writeMarks()
}

func (t *turn) kept() {
	for _, m := range t.marked {
		m.stored = m.last
	}
	t.marked, t.remembered = nil, 0
	if err := t.life.replies.Written(); err != nil && t.broken == nil {
		t.broken = err
	}
}

// unkeep takes back what the turn remembers, which was not committed.
func (t *turn) unkeep() {
	for _, m := range t.marked {
		m.last = m.stored
	}
	if t.remembered > 0 {
		t.life.replies.Forget(t.remembered, t.waiting)
	}
	t.life.replies.Undo()
	t.marked, t.remembered = nil, 0
}

// One client id in two places: two tabs that share their storage, or a connection that has come back
// while the server holds the old one for alive. Two that send the same queue would take each other's numbers,
// so the younger connection takes the queue over and the older is told to stop. Who owns a client is
// found from its connections, and so it outlives the room's sleep.

// takeOver makes conn the connection over which the client of at sends, or refuses its action because a
// younger connection is that. Replies that were given before are not its business.
func (t *turn) takeOver(at *mark, conn *hibernate.Connection) error {
	if at.owner == conn {
		return nil
	}
	all := t.life.connections()
	owner := at.owner
	if owner == nil || !slices.Contains(all, owner) {
		owner = youngest(all, at)
	}
	if owner != nil && owner.Serial > conn.Serial {
		at.owner = owner
		return &Error{Code: syncproto.CodeClientTaken, Message: "This client sends its actions over a younger connection."}
	}
	at.owner = conn
	conn.SetNumbers(at.client)
	return nil
}

// youngest gives the youngest connection over which a client has sent, or nil.
func youngest(all []*hibernate.Connection, at *mark) (found *hibernate.Connection) {
	for _, c := range all {
		if c.Numbers() == at.client && c.Identity.Subject == at.subject && (found == nil || c.Serial > found.Serial) {
			found = c
		}
	}
	return found
}

// Which clients a room may have forgotten. A room forgets a client that was not seen for
// Options.ClientRetention, and would take its number 1 for that of a new client. So a client may put
// into its id when it was made: one that is not known, and old enough to have been forgotten, is
// refused at every number, before anything of it is applied.
//
//	client  13 decimal digits, Unix milliseconds by the client's clock · "." · at least 16 bytes
//
// Any other id is bare and has no time. A time that is more than a day ahead of the room's is not
// believed: the id counts as bare. A room keeps a client until its time, too, is past the retention,
// so a clock that is ahead by less makes no gap.

const (
	timeDigits    = 13
	minClientRest = 16
	maxClientLead = 24 * time.Hour
)

// madeAt is the time in a client's id, Unix milliseconds; 0: it has none, or none that is believed.
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

// mayBeForgotten reports whether a client that is not known may have been known before.
func (l *life) mayBeForgotten(client string, now time.Time) bool {
	at := madeAt(client, now)
	return at != 0 && at <= now.Add(-l.host.opts.ClientRetention).UnixMilli()
}

// An unknownClient is the refusal of one.
type unknownClient struct {
	next uint64 // the number with which it may begin; 0: it needs a new id
	now  int64  // Unix milliseconds
}

func (*unknownClient) Error() string { return "room: unknown client" }

func notKnown(next uint64, now time.Time) error {
	message := "The room does not know this client. Begin with the number 1, or with a new client id if that was answered before."
	if next == 0 {
		message = "The room does not know this client any more. Begin with a new client id and the number 1."
	}
	return &Error{Code: syncproto.CodeUnknownClient, Message: message, cause: &unknownClient{next: next, now: now.UnixMilli()}}
}
