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

// Options of a host. The zero value of a field stands for its default, and so does a negative number, unless the
// field says what it means. Only Dir is required.
type Options struct {
	// Dir is the data directory. It is made if it does not exist, and locked: only one host can use a directory.
	Dir string
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger
	// Clock is the source of the time. Default: SystemClock().
	Clock Clock
	// Seed makes the random values of rooms repeatable, for tests. Default 0: from the system's secure source.
	Seed uint64
	// MailboxSize is how many messages may wait for one room, and MailboxBytes how much memory they may take. A
	// connection may have as many messages waiting as it leaves places for others: half of them if it is alone, a
	// seventeenth each for sixteen connections. While a connection has its share, its socket is not read; a plain
	// request waits. Defaults 4096, 16 MiB. MailboxBytes should be at least four times transport.Options.ReadLimit.
	MailboxSize  int
	MailboxBytes int
	// MaxBatch is the maximum of messages that share a commit. A batch also ends with 1 MiB of what clients have
	// sent, and 10 ms after it began, or 2 ms if it has the only message of a client that waits for its answer.
	// Default 256.
	MaxBatch int
	// Memory is how many bytes of messages the node keeps: those that wait for rooms or are in work, partly received
	// ones in a transport, and what waits for a commit or for clients' sockets. One room may use a quarter of it for
	// what it sends. A message beyond the limit is refused with overloaded. A client for which as much waits as is
	// left is too slow, and is closed. Rooms that are awake take memory besides this. Default: half of the machine's
	// memory, or of what the process may have (on Linux its cgroup's limit); 512 MiB if neither is known. Less than
	// 16 MiB, which the den command refuses, is too little even for a few clients. See Host.MemoryUsed.
	Memory int64
	// InFlight is how many messages of one connection may be in work. While there are that many, its socket is not
	// read. Default 256.
	InFlight int
	// ActionTimeout is how long a hook may take. After that its context ends, its SQL is interrupted and its action
	// fails with action_timeout. If it has not returned after as long again, the room goes on without it. Default 5
	// s.
	ActionTimeout time.Duration
	// WorkTimeout is how long work of Context.Go may take; then its context ends. Default 60 s.
	WorkTimeout time.Duration
	// MigrationTimeout is how long one of a room's migrations may take, and the comparison of its tables with their
	// structs. Default 10 min.
	MigrationTimeout time.Duration
	// MaxRows is how many rows one action may change. Default 10,000.
	MaxRows int
	// MaxActionBytes is how many bytes one action may write to the room's file, as pages of 4 KiB; some MiB more may
	// pass. An action that writes more fails with too_large and is undone. Migrations and imports may write 256 MiB
	// in a transaction. Default 64 MiB. With Durability DurableFiles or Unsynced there is no such limit.
	MaxActionBytes int
	// MaxRoomBytes is the largest database of a room. An action that makes it larger is refused with room_full;
	// actions that only delete still pass. Default 10 GiB.
	MaxRoomBytes int64
	// History is for how many of its newest actions a room remembers which rows changed. A client that was away for
	// longer gets its channels from scratch. Default 100,000.
	History int
	// MaxSnapshotBytes is how much JSON is sent at once where it cannot be sent in steps: a channel whose table was
	// redefined, and what a failed life has not sent. It is also the length of the answer to a cursor after which the
	// whole channel follows instead. A snapshot has no limit. Less than 1 MiB also limits how much is read in one
	// turn. Default 64 MiB.
	MaxSnapshotBytes int
	// Durability says what an acknowledgement means. Default: Durable.
	Durability Durability
	// Retention is how long a room remembers what was deleted and changed. A client that was away for longer gets its
	// channels from scratch. Default 7 days.
	Retention time.Duration
	// TimeTravel is how far back a room's earlier states are available, see Host.StateAt. The node's commit log keeps
	// what that needs. Default 24 h; negative: not at all.
	TimeTravel time.Duration
	// CheckpointBytes is the size of a room's WAL at which it is written into the room's file. Default 4 MiB.
	CheckpointBytes int64
	// LogSegmentBytes is the size of a file of the commit log. Default 8 MiB, and up to 32 MiB in a long log.
	LogSegmentBytes int64
	// FS is the file system. Default: the machine's. Tests have one that loses power.
	FS storage.FS
	// IdleAfter is how long a room must have nothing to do before it sleeps: its database is closed, its handler is
	// dropped, and its connections stay. Default 10 s; negative: never.
	IdleAfter time.Duration
	// MaxAwake is how many rooms may be awake at a time. If one more wakes, the idle room that was used the longest
	// ago goes to sleep. If no room is idle for 5 s, the new one is refused with overloaded. Each takes about half a
	// megabyte of memory and two descriptors. Default 2048, or as many as half of the process's descriptors allow.
	MaxAwake int
	// ReplyMemory is how many bytes of replies a room keeps in its database for actions that come twice: the newest
	// of the last 7 days, with their content for a day. An index of them takes about 5 bytes each besides, and 10 in
	// memory while the room is awake. Default 1 MiB.
	ReplyMemory int
	// AlarmRooms is how many rooms run alarms at the same time, so that others stay quick. Default 16; negative:
	// none, and alarms wait for a host that runs them.
	AlarmRooms int
	// AlarmTries is how often an alarm is tried before it is given up. Default 6.
	AlarmTries int
	// KeepReplaced is how long a file that a restore has replaced is kept, as …db.before-restore-<time>; there are at
	// most ten of a room. Default 30 days; negative: no time limit.
	KeepReplaced time.Duration
	// ScrubEvery is the time in which the host reads each room's file once and compares the checksums of its pages, so that
	// a damaged page is found before somebody needs it. It reads at most 4 MiB/s, and wakes no room. See Host.Damaged.
	// Default 30 days; negative: never.
	ScrubEvery time.Duration
	// ClientRetention is how long after a client was last seen a room knows up to which number its actions were
	// applied. Default 30 days.
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
	if o.ScrubEvery == 0 {
		o.ScrubEvery = 30 * 24 * time.Hour
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

// Durability says what has happened to an action when its client is told that it was applied.
type Durability uint8

const (
	// Durable: the action survives a power cut, because it is in the node's commit log: one file for all rooms, and
	// one sync of the disk for all that wait. The default.
	Durable Durability = iota
	// Relaxed: the action survives the end of the process, and after 100 ms a power cut too: the log is synced that
	// often. A client that saw what a power cut then took may keep it until it gets its channels from scratch.
	Relaxed
	// DurableFiles: the action survives a power cut, because it is in the room's own file. There is no commit log, so
	// a room has no earlier states. With a disk that syncs fast and few rooms, this is as good.
	DurableFiles
	// Unsynced: the action survives the end of the process. A power cut loses the newest actions of a room, and
	// leaves an earlier state. For tests and caches.
	Unsynced
)

// A Clock is a host's source of the time. A test kit's clock stands still until it is advanced.
type Clock interface {
	// Now is the time.
	Now() time.Time
	// AfterFunc calls f in its own goroutine when d has passed.
	AfterFunc(d time.Duration, f func()) Timer
}

// A Timer is a pending call of a Clock. See [time.Timer].
type Timer interface {
	// Stop cancels the call, and reports whether it was still pending.
	Stop() bool
	// Reset changes the call to d from now, and reports whether it was still pending.
	Reset(d time.Duration) bool
}

// SystemClock is the machine's clock.
func SystemClock() Clock { return systemClock{} }

type systemClock struct{}

func (systemClock) Now() time.Time                            { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// Each file and each socket takes a descriptor, of which a process has a limited number. It is better told at the
// start than found out under load.

const (
	// descriptorsPerRoom is how many an awake room has, for its file and its WAL.
	descriptorsPerRoom = 2
	// descriptorsBeside is how many are left for what is neither a room nor a socket: the commit log, the runtime,
	// backups, the WALs of pooled connections.
	descriptorsBeside = 96
	// defaultAwake is how many rooms may be awake if the limit on descriptors allows.
	defaultAwake = 2048
)

// checkDescriptors sets MaxAwake by what the process may open, and refuses a larger one. limit is 0 if there is none.
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

// unknownMemory is the default of Options.Memory if the machine does not say how much it has.
const unknownMemory = 512 << 20

// defaultMemory returns half of what the process may have.
func defaultMemory() int64 {
	if most := machine.Memory(); most > 0 {
		return most / 2
	}
	return unknownMemory
}
