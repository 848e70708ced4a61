package room

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/awake"
	"github.com/denrooms/den/room/internal/pages"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/room/internal/replies"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// A life is one life of a room: a database that is open, and a handler. It is an
// actor's behavior, so its methods run one at a time, but for Abandon, which comes
// while a hook hangs.
type life struct {
	// Immutable after Start.

	host    *Host
	ns      *namespace
	key     Key
	name    string // the key as hibernate knows it
	number  uint64 // which life of the actor this is
	log     *slog.Logger
	memory  *hibernate.Memory // of what the room has to send
	db      *storage.DB
	handler Handler
	ctx     context.Context // for work outside; ends with the life
	end     context.CancelFunc
	why     WakeReason

	// Safe from any goroutine.

	awake awake.Member
	alarm atomic.Int64 // when the next alarm is due, Unix milliseconds; never: it has none
	work  atomic.Int32 // pieces of work under way, see work.go
	stuck atomic.Int32 // pieces of work that the room no longer waits for
	under underWay

	leaving atomic.Pointer[closeMessage]  // whose OnClose is in work; nil: none
	running atomic.Pointer[actionMessage] // the numbered action in work; nil: none

	// Owned by the actor.

	source       io.Reader // rand's source, as bytes
	rand         *rand.Rand
	replies      replies.Store
	pages        pageCache
	gathered     map[string]*gathering // by channel; see gather.go
	quota        pages.Quota           // of what the turn in work may still read for clients
	crashed      bool                  // when it began, rooms had not yet taken from the log what an earlier process left
	holding      bool                  // some connection may be held, or wait for its first sync; see hold.go
	newest       sharedHold            // see hold.go
	holdsDropped time.Time             // when holds that are over were last dropped

	inquiries map[answerKey]*inquiry // syncs whose answers are on their way; see reading.go
	cut       map[answerKey]struct{} // whose answers of an earlier life do not go on; see reading.go

	waiting   map[*hibernate.Connection]struct{} // those with Waits set; see confirm.go
	marks     marks
	place     place
	alarms    alarms.Table
	scratch   []byte // encoded rows of the commit in work
	turns     turnMemory
	nextPurge time.Time // when upkeep is due
	reminded  time.Time // for when the last reminder was noted
	alone     int       // how many messages are to have a turn each, see recent.Losses
	troubled  bool      // the operator was told of a full disk, and nothing was committed since

	roster roster
	watch  watch

	// gate is held while what a commit allows is handed out, and by Abandon: a life
	// that was fenced hands out nothing any more.
	gate   sync.Mutex
	acting recent.Culprit // whose action is in work; the zero one: nobody's is; protected by gate
	fenced bool
}

// roomShare is of how many equal parts of Options.Memory one room may have one for what it sends.
const roomShare = 4

func (h *Host) newLife(key Key, number uint64) actor.Behavior {
	l := &life{
		host:   h,
		ns:     h.namespace(key.Namespace),
		key:    key,
		name:   key.Namespace + "/" + key.Room,
		number: number,
		memory: h.memory.Part(h.opts.Memory / roomShare),
		log:    h.opts.Logger.With("namespace", key.Namespace, "room", key.Room),
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.ctx, l.end = ctx, func() { l.endWork(); cancel() }
	l.alone = h.losses.Take(key)
	l.watch.init(l)
	l.awake.Init(key, number, l.mayRest)
	return l
}

// Start opens the database and lets the handler make itself ready.
func (l *life) Start(_ context.Context, first any) error {
	l.why = wakeReason(first)
	if err := l.host.awake.Enter(&l.awake); err != nil {
		l.host.losses.Put(l.key, l.alone)
		l.end()
		return &Error{Code: syncproto.CodeOverloaded, Message: "Too many rooms are in use. Try again later.", cause: err}
	}
	return l.start()
}

// errExited is the error of a start whose hook has ended its goroutine (runtime.Goexit).
var errExited = errors.New("a hook ended its goroutine")

// start gives back all that it has taken where it fails, however that is.
func (l *life) start() (err error) {
	err = errExited
	defer func() {
		if err != nil {
			l.giveBack(err)
			err = notStarted(err)
		}
	}()
	l.seed()
	l.watch.arm()
	defer l.watch.disarm()
	err = protect(l.makeReady) // a panic must leave the file to the next life
	if err == nil && !l.isFenced() {
		l.host.failures.note(l.key, nil, time.Time{})
	}
	return err
}

// giveBack ends a life that has not begun: its place, its file and its context. What the room has to
// remember goes to the next life.
func (l *life) giveBack(err error) {
	defer l.host.awake.Leave(&l.awake)
	switch {
	case errors.Is(err, errOfflineTask):
		l.log.Debug("an offline task has used the room's file")
	case l.isFenced():
		l.log.Error("the room did not start", "err", err)
	default:
		l.host.report(l.key, "the room did not start", err)
	}
	l.end()
	if !l.isFenced() { // or Abandon has done so
		l.host.losses.Put(l.key, l.alone)
	}
	switch {
	case l.db == nil:
	case stackOf(err) != nil, errors.Is(err, errExited): // a hook may have left anything half done
		fence(l.db)
	default:
		closeFile(l.db)
	}
}

// makeReady is all that can fail in a start.
func (l *life) makeReady() error {
	err := l.open()
	if err == nil {
		err = l.loadAlarms()
	}
	if err == nil {
		err = l.begin()
	}
	return err
}

// notStarted is what those are told who called for a room that does not start: nothing of
// what its code or its SQL said, unless that was written for them or is of the disk.
func notStarted(err error) error {
	if written(err) || storageFailed(err) {
		return reported{err}
	}
	return reported{&Error{Code: syncproto.CodeRoomUnavailable, Message: "The room is not available. Try again later.", cause: err}}
}

// reported is an error that the operator has been told of.
type reported struct{ error }

func (r reported) Unwrap() error        { return r.error }
func (r reported) Is(target error) bool { return target == actor.ErrReported }

// seed gives each life randomness of its own, the same in a repeated run.
func (l *life) seed() {
	s := l.host.seed
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s\x00%d", l.name, l.number)
	binary.LittleEndian.PutUint64(s[24:], binary.LittleEndian.Uint64(s[24:])^sum.Sum64())
	source := rand.NewChaCha8(s)
	l.source, l.rand = source, rand.New(source)
}

func (l *life) open() error {
	l.host.looks.wait(l.key)
	l.host.offline.receive(l.key)
	if l.ns == nil {
		return errOfflineTask
	}
	l.crashed = l.host.log != nil && l.host.log.Crashed() != 0
	db, err := l.host.openFile(l.key)
	if err != nil {
		return err
	}
	l.gate.Lock()
	defer l.gate.Unlock()
	l.db = db
	l.replies = replies.New(db, l.host.opts.ReplyMemory)
	if l.fenced {
		return actor.ErrAbandoned
	}
	db.Withhold() // see turn.shows
	return nil
}

// begin takes the file to where the program is, runs OnStart, and then declares the
// synced tables.
func (l *life) begin() error {
	if err := l.prepare(); err != nil {
		return err
	}
	l.planPurge()
	l.findHolds()
	l.findWaiting()
	if err := l.loadRoster(); err != nil {
		return err
	}
	t := &turn{life: l, starting: true}
	l.handler = t.newHandler()
	c := t.context(nil, nil)
	_, err := t.runHook(c, "OnStart", func() error {
		if err := l.handler.OnStart(c); err != nil {
			return fmt.Errorf("OnStart: %w", err)
		}
		if l.db.Created() && len(l.connections()) == 0 { // else the room was awake before, and nobody got anything of it
			return nil
		}
		if err := l.handler.OnWake(c); err != nil {
			return fmt.Errorf("OnWake: %w", err)
		}
		return nil
	})
	if err != nil {
		return err // the batch ends with the file, see giveBack
	}
	t.out = append(t.out, c.out...)
	t.commit()
	if t.broken != nil {
		return t.broken
	}
	if t.lost != nil { // a disk that is full: the next life tries again
		return t.lost
	}
	if err := l.db.Sync(l.ns.channels...); err != nil {
		return err
	}
	if bug.On("untold") {
		return nil
	}
	return l.tell()
}

// newHandler makes the life's handler, with the time limit of a hook.
func (t *turn) newHandler() Handler {
	t.life.watch.enter("making the handler", t.context(nil, nil))
	defer t.life.watch.leave()
	return t.life.ns.newHandler()
}

// Stop ends the life. Where it ends in good order, OnHibernate is the last that it does.
func (l *life) Stop(reason actor.StopReason) {
	defer l.host.awake.Leave(&l.awake)
	l.host.losses.Put(l.key, l.alone)
	present, stopping := l.connections(), l.host.stopping.Load()
	if reason == actor.StopIdle || reason == actor.StopRequested {
		if stopping {
			l.sayGoodbye(present)
		}
		l.hibernate()
	}
	l.handOver()
	l.watch.stop()
	l.end()
	l.leaveHolds()
	if stopping {
		if len(present) > 0 {
			l.db.KeepIfEmpty() // they come back to the next process, and are to find the same room
		}
		l.host.closeLinks(l.key, present)
	}
	shrinks := l.db.CompactDue()
	if err := closeFile(l.db); err != nil {
		l.log.Error("closing the room's database", append([]any{"err", err}, stackOf(err)...)...)
	} else if shrinks {
		l.host.compactLater(l.key)
	}
	l.log.Debug("the room stopped", "reason", reason)
}

// hibernate lets the handler write what it has in memory only.
func (l *life) hibernate() {
	l.watch.arm()
	defer l.watch.disarm()
	t := &turn{life: l, last: true}
	c := t.context(nil, nil)
	commit, err := t.runHook(c, "OnHibernate", func() error { return l.handler.OnHibernate(c) })
	if err == nil {
		t.succeed(c, commit)
	}
	t.commit()
}

// Abandon hands over a life whose hook does not return. It is called from another
// goroutine than the life's.
func (l *life) Abandon() {
	defer l.host.awake.Leave(&l.awake)
	l.condemn()
	l.host.losses.Put(l.key, aloneAfterLoss)
	l.handOver()
	l.end()
	l.log.Error("a hook did not return; the room goes on without it", "hook", l.watch.current())
}

// condemn fences the life because of the hook in work, and notes whose that is. The watch calls it while the hook is in work, and
// Abandon again: the second call does nothing.
func (l *life) condemn() {
	l.gate.Lock()
	first, db, who := !l.fenced, l.db, l.acting
	l.fenced = true
	l.gate.Unlock()
	if !first {
		return
	}
	if m := l.running.Load(); m != nil {
		l.host.hangs.Note(l.numberedBy(m), m.mutation, m.digest)
	}
	if who != (recent.Culprit{}) {
		l.blame(who)
	}
	if db != nil {
		db.Fence()
	}
}

// Receive serves what has queued up, in one turn with one commit, or in several; see batch.go.
func (l *life) Receive(batch []*actor.Envelope, more func(n int) []*actor.Envelope) error {
	l.noteUse(batch)
	l.watch.arm()
	defer l.watch.disarm()
	if err := l.runDue(); err != nil {
		return l.giveUp(err)
	}
	late, err := l.serve(batch, more)
	if err != nil {
		return l.giveUp(err)
	}
	l.watch.disarm()
	giveLate(late)
	l.db.AfterCommit()
	return nil
}

// noteUse notes that the room is in use, unless all messages are for its upkeep.
func (l *life) noteUse(batch []*actor.Envelope) {
	if !upkeep(batch) {
		l.host.awake.Touch(&l.awake)
	}
}

// giveUp is the error with which the life ends. Of a fault of the storage, which the next life may meet again,
// the operator is told here; of others where they came up.
func (l *life) giveUp(broken error) error {
	err := fmt.Errorf("%w: %w", actor.ErrRequeue, broken)
	if !storageFailed(broken) {
		return err
	}
	l.host.complain(l.key, "the room's storage failed, and the room begins a new life", broken)
	return reported{err}
}

// connections are the room's connections now.
func (l *life) connections() []*hibernate.Connection {
	return l.ns.rooms.Connections(l.key.Room)
}

// full tells that the disk or the room is full, and that for certain nothing was written. An error that is of a
// disk that fails as well says nothing of what was.
func full(err error) bool { return errors.Is(err, storage.ErrFull) && !errors.Is(err, storage.ErrIO) }

// storageFailed reports whether the database must be opened again after this error
// before it is trusted.
func storageFailed(err error) bool {
	if err == nil {
		return false
	}
	code, _ := ErrorCode(err)
	return code == syncproto.CodeStorageUnavailable
}

// A WakeReason is why a room's life began: what it was called for by.
type WakeReason string

// The reasons.
const (
	WakeConnect  WakeReason = "connect"  // a client wants in
	WakeMessage  WakeReason = "message"  // a client's action, sync or other message
	WakeClose    WakeReason = "close"    // a client has gone
	WakeRequest  WakeReason = "request"  // a plain HTTP request
	WakeAlarm    WakeReason = "alarm"    // one of the room's alarms is due
	WakeOperator WakeReason = "operator" // somebody looks after it: a backup, a restore, a migration
	WakeRestart  WakeReason = "restart"  // the life before this one broke
)

// wakeReason tells it by the first message.
func wakeReason(first any) WakeReason {
	switch first.(type) {
	case *connectMessage:
		return WakeConnect
	case *actionMessage, *syncMessage, *rawMessage:
		return WakeMessage
	case *closeMessage, rosterMessage:
		return WakeClose
	case *requestMessage:
		return WakeRequest
	case *alarmMessage:
		return WakeAlarm
	case nil, *thenMessage:
		return WakeRestart
	}
	return WakeOperator
}

const (
	// alarmSoon is how close an alarm must be for its room to stay awake, and alarmLate how long one is
	// waited for that does not come.
	alarmSoon = time.Second
	alarmLate = time.Minute
)

// mayRest tells whether a life has nothing under way that its sleep would end, and no alarm that
// is due at once. Whether it has messages, its actor knows.
func (l *life) mayRest(now time.Time) bool {
	alarm := time.UnixMilli(l.alarm.Load()).Sub(now)
	return l.work.Load() == 0 && (alarm > alarmSoon || alarm < -alarmLate)
}

// place is the cursor of all that the room has done so far, and what it was made of.
type place struct {
	epoch string // short
	seq   storage.Seq
	text  string
}

// cursor gives the cursor of all that the room has done so far, the open batch's part
// included.
func (l *life) cursor() string {
	p := &l.place
	if seq := l.db.Seq(); p.text == "" || p.seq != seq {
		p.seq, p.text = seq, syncproto.Cursor{Epoch: l.shortEpoch(), Seq: uint64(seq)}.String()
		if bug.On("cursor-high") {
			p.text = syncproto.Cursor{Epoch: l.shortEpoch(), Seq: uint64(seq) + 1}.String()
		}
	}
	return p.text
}

func (l *life) shortEpoch() string {
	if l.place.epoch == "" {
		name, err := hex.DecodeString(l.db.Epoch())
		if err != nil {
			name = []byte(l.db.Epoch())
		}
		l.place.epoch = syncproto.ShortEpoch(name)
	}
	return l.place.epoch
}

// numberedBy is the client that has sent a numbered action.
func (l *life) numberedBy(m *actionMessage) recent.Client {
	return recent.Client{Room: l.key, ID: m.client, Subject: m.conn.Identity.Subject}
}
