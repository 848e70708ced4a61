package room

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/syncproto"
)

// A Key names a room: its fields are Namespace and Room, the name within the namespace, both strings and decoded.
type Key = actor.Key

// An Identity says who a client is: Subject, a string, is the user's id, and Claims, a map[string]any, is what else
// authentication found out, as plain data. The zero Identity is anybody.
type Identity = hibernate.Identity

// A Link carries messages to one client; a Frame is such a message.
type (
	Link  = hibernate.Link
	Frame = hibernate.Frame
)

// Options of a host. The zero value of each field stands for its default, and so does a
// negative number where the field does not say what it means. Only Dir must be given.
type Options struct {
	// Dir is the data directory. It is made if it is not there, and locked: a
	// directory has one host.
	Dir string
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
	// Clock is where the time comes from. Default: SystemClock().
	Clock Clock
	// Seed makes the randomness that rooms are given repeatable, for tests.
	// Default 0: from the system's secure source.
	Seed uint64
	// MailboxSize is how many messages may wait for one room, and MailboxBytes how much memory they
	// may take. A connection may have as many waiting as it leaves free for others: one alone half,
	// sixteen a seventeenth each. The socket of one that has its share is not read meanwhile; a plain request waits.
	// Defaults 4096, 16 MiB. MailboxBytes should be four times transport.Options.ReadLimit at least.
	MailboxSize  int
	MailboxBytes int
	// MaxBatch is how many messages share a commit at the most. A batch ends also with 1 MiB of what clients have
	// sent, and 10 ms after it began; 2 ms, where it has the only message of a client that waits for its answer. Default 256.
	MaxBatch int
	// Memory is how many bytes of messages the node keeps: those that wait for rooms or are in work, what a transport
	// has of messages that have not come whole, what waits for a commit, and what waits for clients' sockets. Of what is to be sent one room may have a quarter. A message over it is
	// refused with overloaded. A client for which as much waits as is left is too slow and is closed. It is not all that
	// the process takes: rooms that are awake come on top. Default: half of the machine's memory, or of what
	// the process may have (on Linux its cgroup's limit); 512 MiB where neither is known. Less than 16 MiB, which
	// the den command refuses, is too little for a few clients. See Host.MemoryUsed.
	Memory int64
	// InFlight is how many messages of one connection may be in work; its socket is
	// not read while there are so many. Default 256.
	InFlight int
	// ActionTimeout is how long a hook may take. Then its context ends, its SQL is
	// interrupted and its action fails with action_timeout; if it has not returned
	// after as long again, the room goes on without it. Default 5 s.
	ActionTimeout time.Duration
	// WorkTimeout is how long work of Context.Go may take; then its context ends. Default 60 s.
	WorkTimeout time.Duration
	// MigrationTimeout is how long one of a room's migrations may take, and the
	// comparison of its tables with their structs. Default 10 min.
	MigrationTimeout time.Duration
	// MaxRows is how many rows one action may change. Default 10,000.
	MaxRows int
	// MaxActionBytes is how many bytes one action may write to the room's file, as pages of 4 KiB; some MiB
	// more may pass. One that writes more fails with too_large, and nothing of it remains. Migrations and
	// imports have 256 MiB a transaction. Default 64 MiB. With Durability DurableFiles or Unsynced there is no
	// such limit.
	MaxActionBytes int
	// MaxRoomBytes is the largest database of a room. An action that makes it larger is refused with
	// room_full; what only deletes still passes. Default 10 GiB.
	MaxRoomBytes int64
	// History is how many of its newest actions a room remembers the changed rows of. A
	// client that was away for longer gets its channels from scratch. Default 100,000.
	History int
	// MaxSnapshotBytes is how much JSON is sent at once where it cannot come in steps: a channel whose table was
	// redefined, and what a life that broke has not handed out. It is also how long the answer to a cursor
	// gets before it goes on with the whole channel; a snapshot has no limit. Less than 1 MiB is also how much is read in one
	// turn. Default 64 MiB.
	MaxSnapshotBytes int
	// Durability says what an acknowledgement means. Default: Durable.
	Durability Durability
	// Retention is how long a room remembers what was deleted and what was changed; a
	// client that was away for longer gets its channels from scratch. Default 7 days.
	Retention time.Duration
	// TimeTravel is how far back a room's earlier states can be had, see Host.StateAt. The
	// node's commit log keeps what that needs. Default 24 h; negative: not at all.
	TimeTravel time.Duration
	// CheckpointBytes is how large a room's WAL gets before it is written into the room's
	// file. Default 4 MiB.
	CheckpointBytes int64
	// LogSegmentBytes is how large a file of the commit log gets. Default 8 MiB, and up to 32
	// in a long log.
	LogSegmentBytes int64
	// FS is where the files are. Default: the machine's. Tests have one that loses power.
	FS storage.FS
	// Dispatcher schedules the rooms' runs. Default: goroutines. A test that has one of
	// its own decides the order of everything.
	Dispatcher actor.Dispatcher
	// IdleAfter is how long a room must have nothing to do before it sleeps: its database is
	// closed, its handler is gone, its connections stay. Default 10 s; negative: never.
	IdleAfter time.Duration
	// MaxAwake is how many rooms may be awake at a time. One more has the room sleep that
	// was used the longest ago and is not in work; where all are, for 5 s, it is refused
	// with overloaded. Each takes about half a megabyte of memory and two descriptors. Default
	// 2048, or as many as half of the process's descriptors allow.
	MaxAwake int
	// ReplyMemory is how many bytes of replies a room keeps in its database for actions
	// that come twice; the newest of the last 7 days, and what they say for a day. An index of them, about 5 bytes each,
	// comes on top; in memory, while the room is awake, 10. Default 1 MiB.
	ReplyMemory int
	// AlarmRooms is how many rooms run alarms at the same time, so that others stay quick. Default
	// 16; negative: none, alarms wait for a host that runs them.
	AlarmRooms int
	// AlarmTries is how often an alarm is tried before it is given up. Default 6.
	AlarmTries int
	// KeepReplaced is how long the file stays that a restore has replaced, as …db.before-restore-<time>; of a
	// room there are ten at most. Default 30 days; negative: no limit of time.
	KeepReplaced time.Duration
	// ClientRetention is how long a room knows up to which number a client's actions were
	// applied, after the client was last seen. Default 30 days.
	ClientRetention time.Duration
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = SystemClock()
	}
	if o.FS == nil {
		o.FS = storage.HostFS()
	}
	def(&o.MailboxSize, 4096)
	def(&o.Memory, defaultMemory())
	def(&o.MailboxBytes, 16<<20)
	def(&o.MaxBatch, 256)
	def(&o.InFlight, 256)
	def(&o.ActionTimeout, 5*time.Second)
	def(&o.WorkTimeout, time.Minute)
	def(&o.MigrationTimeout, 10*time.Minute)
	def(&o.MaxRows, 10_000)
	def(&o.MaxActionBytes, 64<<20)
	def(&o.MaxRoomBytes, 10<<30)
	def(&o.History, 100_000)
	def(&o.MaxSnapshotBytes, 64<<20)
	def(&o.CheckpointBytes, 4<<20)
	def(&o.ReplyMemory, 1<<20)
	if o.IdleAfter == 0 {
		o.IdleAfter = 10 * time.Second
	}
	def(&o.Retention, 7*24*time.Hour)
	if o.TimeTravel == 0 {
		o.TimeTravel = 24 * time.Hour
	}
	def(&o.ClientRetention, 30*24*time.Hour)
	if o.KeepReplaced == 0 {
		o.KeepReplaced = 30 * 24 * time.Hour
	}
	if o.AlarmRooms == 0 {
		o.AlarmRooms = alarm.DefaultMaxCalls
	}
	def(&o.AlarmTries, 6)
}

func def[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// A Host serves the rooms of one data directory. Its methods are safe from any
// goroutine.
type Host struct {
	// Immutable.

	opts       Options
	gatherMost int       // a test lowers it before there are rooms
	began      time.Time // see uptime
	seed       [32]byte
	run        int64        // the process's number, see roster.go
	hashes     maphash.Seed // of the senders of plain requests
	unlock     func() error
	actors     *actor.System
	log        *storage.NodeLog // nil: each room's file is durable by itself
	conns      hibernate.Registry
	memory     *hibernate.Memory
	shares     *hibernate.Shares // nil: the clock is not the machine's
	outside    *hibernate.Memory // a part of memory: requests that have no place in a mailbox yet
	alarms     *alarm.Clock
	zones      zones

	presence hibernate.Presence

	stopping atomic.Bool
	ending   atomic.Pointer[context.Context] // of the Shutdown in work
	workLost atomic.Uint64                   // see WorkLost
	owed     owed
	graces   graces
	awake    awake
	failures failures
	hangs    hangs
	losses   losses
	quiet    quiet
	culprits panics
	recovery sync.Mutex // held while rooms take what a crash has left, and at the end
	looks    looks
	visits   visits

	compactor compactor
	reminding reminding
	slowAt    atomic.Int64 // when the operator was told that clients are read slowly, Unix nanoseconds; 0: never
	refusedAt atomic.Int64 // when the operator was told that there is no memory, Unix nanoseconds; 0: never

	panics        sync.Map // of jobs of the host's own: by the job, what the last one said
	alarmFailures alarmFailures
	scanned       sync.Map // of namespaces: the index of alarms knows all of their rooms

	mu         sync.RWMutex
	namespaces map[string]*namespace // filled by Register, read by all

	releasing sync.Mutex // held while the host's own files are closed
	released  bool       // the directory's lock has been given back; protected by releasing
}

// Open opens a data directory. It fails with an error that says what to do where
// the directory cannot be written, or another process has it.
func Open(o Options) (*Host, error) {
	o.setDefaults()
	if o.Dir == "" {
		return nil, errors.New("room: Options.Dir is empty")
	}
	if err := o.checkDescriptors(descriptorLimit()); err != nil {
		return nil, err
	}
	unlock, err := storage.LockDir(o.FS, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("room: the data directory: %w", err)
	}
	h := &Host{opts: o, unlock: unlock, gatherMost: gatherMost, began: o.Clock.Now(), hashes: maphash.MakeSeed(), memory: hibernate.NewMemory(o.Memory), namespaces: make(map[string]*namespace)}
	h.outside = h.memory.Part(o.Memory / outsideShare)
	if _, real := o.Clock.(systemClock); real {
		h.shares = hibernate.NewShares(h.tellCongested)
	}
	h.seed, h.run = hostSeed(o.Seed), newRun()
	if err := storage.ClearWALs(o.FS, filepath.Join(o.Dir, walsDir)); err != nil {
		return nil, errors.Join(fmt.Errorf("room: the directory of unused WALs: %w", err), unlock())
	}
	if err := h.openLog(); err != nil {
		return nil, errors.Join(err, unlock())
	}
	h.actors = actor.NewSystem(h.newLife, actor.Options{
		MailboxSize:  o.MailboxSize,
		MailboxBytes: o.MailboxBytes,
		Admit:        h.admit,
		Keep:         h.memory.Take,
		Release:      h.memory.Give,
		MaxBatch:     o.MaxBatch,
		FirstBatch:   firstMessages,
		Now:          o.Clock.Now,
		Logger:       o.Logger,
		Dispatcher:   o.Dispatcher,
	})
	h.awake.clock, h.awake.after, h.awake.most = o.Clock, o.IdleAfter, o.MaxAwake
	h.awake.waits, h.awake.retire, h.awake.contain = o.Dispatcher == nil, h.actors.Retire, h.contain
	h.presence.Panicked = h.linkPanicked
	h.sweepPast()
	h.sweepReplacedLater(replacedFirst)
	if err := h.openAlarms(); err != nil {
		h.stopping.Store(true)
		return nil, errors.Join(err, h.closeLog(), unlock())
	}
	return h, nil
}

func hostSeed(seed uint64) (s [32]byte) {
	if seed == 0 {
		rand.Read(s[:]) // never fails (crypto/rand)
		return s
	}
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return s
}

// Register makes a namespace known. create makes the handler of one life of a
// room; it must give a new pointer to a struct each time, and do no more than
// that. It may be called at any time, but once for a name.
func (h *Host) Register(name string, create func() Handler, opts ...Option) error {
	ns, err := newNamespace(name, create, opts)
	if err != nil {
		return err
	}
	if !h.add(ns) {
		return fmt.Errorf("room: the namespace %q is registered twice", name)
	}
	h.registered(name)
	return nil
}

// add makes a namespace known, if there is none of that name.
func (h *Host) add(ns *namespace) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.namespaces[ns.name] != nil {
		return false
	}
	ns.host, ns.rooms = h, h.conns.Rooms()
	ns.pool = h.newPool()
	h.namespaces[ns.name] = ns
	return true
}

// HasNamespace tells whether a namespace is registered.
func (h *Host) HasNamespace(name string) bool { return h.namespace(name) != nil }

func (h *Host) namespace(name string) *namespace {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.namespaces[name]
}

// check refuses keys that no room can have, before anything is woken.
func (h *Host) check(key Key) error {
	if !h.HasNamespace(key.Namespace) {
		return &Error{Code: syncproto.CodeUnknownNamespace, Message: "There is no such namespace."}
	}
	if _, err := roomfile.Escape(key.Room); err != nil {
		return &Error{Code: syncproto.CodeBadRoomName, Message: "A room's name has 1 to 256 bytes of UTF-8.", cause: err}
	}
	return nil
}

// Connections is the number of connections to all rooms.
func (h *Host) Connections() int { return h.conns.Len() }

// Awake is the number of rooms that have a life now.
func (h *Host) Awake() int { return h.actors.Awake() }

// Sleep puts a room to sleep when what waits for it is done, whatever it has under way;
// the next message wakes it. Its connections stay.
func (h *Host) Sleep(ctx context.Context, key Key) error { return h.actors.Stop(ctx, key) }

// Quiet waits until no room has anything to do, and wakes none. It is for tests, where nobody
// sends anything meanwhile.
func (h *Host) Quiet(ctx context.Context) error {
	if err := h.actors.Quiet(ctx); err != nil {
		return err
	}
	for _, ns := range h.namespacesNow() {
		ns.pool.Wait() // a millisecond or two
	}
	return h.presence.Flush(ctx)
}

// Settle waits until a room has served all that was sent to it before, and has
// handed out what it sent. It wakes the room if it must.
func (h *Host) Settle(ctx context.Context, key Key) error {
	if err := h.check(key); err != nil {
		return err
	}
	if _, err := h.actors.Request(ctx, key, settleMessage{}); err != nil {
		return err
	}
	return h.presence.Flush(ctx)
}

// Crash ends a room's life as a fault would: what waits for it goes to the next
// life, and what the life had in memory is lost. It is meant for tests.
func (h *Host) Crash(ctx context.Context, key Key) error { return h.actors.Kill(ctx, key) }

// Shutdown takes no more messages, finishes those that the rooms have, closes all
// connections with 1001, then the databases, and gives the directory back. When
// ctx ends first it returns ctx's error and the rest goes on by itself.
func (h *Host) Shutdown(ctx context.Context) error {
	h.ending.Store(&ctx)
	h.stopping.Store(true)
	h.wakeToClose(ctx)
	h.shares.Stop()
	h.presence.Close()
	h.awake.close()
	h.alarms.Stop()
	h.compactor.stop()
	err := h.actors.Shutdown(ctx)
	if err != nil {
		return fmt.Errorf("room: shutdown: %w", err)
	}
	for _, c := range h.conns.All() { // of rooms that have no life
		h.courier(Key{Room: c.Room()}).close(c, closeGoingAway, goingAway)
	}
	released := make(chan error, 1)
	go func() { released <- h.release() }() // ends when the last file is closed, or at once if that has been done
	select {
	case err := <-released:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(releaseGrace)
	defer grace.Stop()
	select {
	case err := <-released:
		return err
	case <-grace.C:
		return fmt.Errorf("room: shutdown: closing the last files: %w", context.Cause(ctx))
	}
}

// releaseGrace is how long Shutdown waits for the host's own files although its context has ended: mostly they are
// closed within milliseconds.
const releaseGrace = time.Second

// release closes what is not a room's, and gives the directory back. The second call waits for the first.
func (h *Host) release() error {
	h.releasing.Lock()
	defer h.releasing.Unlock()
	if h.released {
		return nil
	}
	h.released = true
	h.recovery.Lock() // until the group of rooms in work has been seen to
	defer h.recovery.Unlock()
	h.compactor.stop()
	h.compactor.work.Lock() // until it has given way
	defer h.compactor.work.Unlock()
	h.closePools()
	return errors.Join(protect(h.closeAlarms), protect(h.closeLog), h.unlock()) // each, whatever the others do
}
