package room

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room/internal/machine"
	"github.com/denrooms/den/storage"
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

	inner inner.Options
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

// Durability says what has happened to an action when its client is told that it was
// applied.
type Durability uint8

const (
	// Durable: it survives a power cut, by the commit log of the node: one file for all rooms,
	// and one sync of the disk for all that wait for it. The default.
	Durable Durability = iota
	// Relaxed: it survives the end of the process, and after 100 ms a power cut too: the log is
	// synced that often. A client that saw what a power cut then took may keep it until it gets
	// its channels from scratch.
	Relaxed
	// DurableFiles: it survives a power cut, by the room's own file. There is no commit log, so no
	// earlier states of a room; on a disk that syncs fast, and with few rooms, it is as good.
	DurableFiles
	// Unsynced: it survives the end of the process. A power cut takes the newest actions of a
	// room, and leaves an earlier state of it. For tests and caches.
	Unsynced
)

// A Clock is where a host takes the time from. A test kit's clock stands still
// until it is told to go on.
type Clock interface {
	// Now is the time.
	Now() time.Time
	// AfterFunc calls f in its own goroutine when d has passed.
	AfterFunc(d time.Duration, f func()) Timer
}

// A Timer is a call that a Clock will make. See [time.Timer].
type Timer interface {
	// Stop takes the call back, and reports whether it was still to come.
	Stop() bool
	// Reset puts the call d from now, and reports whether it was still to come.
	Reset(d time.Duration) bool
}

// SystemClock is the machine's clock.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time                            { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// Files and sockets have one thing in common: each takes a descriptor, of which a process has
// so many. It is better told at the start than found out under load.

const (
	// descriptorsPerRoom is how many an awake room has: its file and its WAL.
	descriptorsPerRoom = 2
	// descriptorsBeside is how many are left for what is neither room nor socket: the commit
	// log, the runtime, backups, the WALs of connections that no room has.
	descriptorsBeside = 96
	// defaultAwake is how many rooms are awake at the most, where the limit allows.
	defaultAwake = 2048
)

// checkDescriptors sets MaxAwake by what the process may open, and refuses one that is over it.
// limit is 0 where there is none.
func (o *Options) checkDescriptors(limit int) error {
	if o.MaxAwake <= 0 {
		o.MaxAwake = defaultAwake
		if limit > 0 {
			o.MaxAwake = max(1, min(defaultAwake, (limit/2-descriptorsBeside)/descriptorsPerRoom))
		}
	}
	if need := o.MaxAwake*descriptorsPerRoom + descriptorsBeside; limit > 0 && need > limit {
		return fmt.Errorf("room: MaxAwake %d takes %d descriptors, and the process may have %d: raise the limit (ulimit -n, LimitNOFILE=) or lower MaxAwake", o.MaxAwake, need, limit)
	}
	return nil
}

// unknownMemory is Options.Memory where the machine does not say how much it has.
const unknownMemory = 512 << 20

// defaultMemory is half of what the process may have.
func defaultMemory() int64 {
	if most := machine.Memory(); most > 0 {
		return most / 2
	}
	return unknownMemory
}
