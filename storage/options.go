package storage

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/vfs"
)

// Synchronous is how a commit reaches the disk.
type Synchronous uint8

const (
	// Full: a commit that returned survives a power cut. The default.
	Full Synchronous = iota
	// Normal: a power cut may take the newest commits; the file stays whole.
	Normal
	// Off: a power cut may take the file. For tests.
	Off
)

// Options says which room to open, and its limits. The zero value of each field but Path is usable.
type Options struct {
	// Path is the file, see roomfile.Path. Missing directories are made. Required.
	Path string
	// Namespace and Room are stored in a new file and compared with an old one's.
	Namespace, Room string
	// Synchronous is Full by default.
	Synchronous Synchronous
	// MaxBytes limits the database: an action that makes it longer gives ErrRoomFull. Actions that only delete, and Den's own
	// tables, may use 4 MiB more, or a 64th of it if that is more. 0 means 10 GiB. A file that is larger already keeps its size.
	MaxBytes int64
	// MaxValueBytes limits a text, a blob and a row. 0 means 16 MiB.
	MaxValueBytes int
	// MaxChanges limits the rows of synced tables that an action may change. 0 means 10,000.
	MaxChanges int
	// MaxChangeBytes limits what an action's changes take in memory, old and new rows together. 0 means 64 MiB.
	MaxChangeBytes int
	// MaxActionBytes limits what an action may write to the file, in bytes of changed pages that have left SQLite's cache; so up to
	// CacheBytes more may pass. ErrTooLarge; an action that goes on to write is ended, and loses the batch. Without a Log there is
	// no such limit. 0 means 64 MiB; a transaction has 256 MiB at most in any case.
	MaxActionBytes int
	// History is how many of the newest actions Since can go back to. 0 means 100,000.
	History int
	// Retention is how far back in time Since can go: what is older is forgotten by the
	// next batches, some of it by each. 0 means 7 days.
	Retention time.Duration
	// Log makes the room's transactions durable. Synchronous is then Normal, whatever it
	// says. nil: the file does so itself, by Synchronous.
	Log Log
	// CheckpointBytes is how large the WAL gets before it is written into the file. 0 means 4 MiB.
	CheckpointBytes int64
	// StatementCache is how many prepared statements of the handlers are kept. 0 means 128.
	StatementCache int
	// CacheBytes is the most that SQLite keeps of the file in memory. 0 means 2 MiB.
	CacheBytes int64
	// Pool is shared by the rooms of one kind, which then open faster. nil: nothing is shared.
	Pool *Pool
	// Past is a directory for the files that Compact has replaced, which the room's history needs; on the rooms'
	// file system, one for all rooms of a node. SweepPast removes old files from it. "": history does not go back over a Compact.
	Past string
	// Now stamps actions that no Batch.Do stamps. nil means time.Now.
	Now func() time.Time
	// Random makes the epoch of a new file. nil means crypto/rand.
	Random io.Reader

	// FS is where the files are. nil means the machine's; tests have one that loses what was not synced.
	FS vfs.FS

	opening *opening // of the Open that these are of; nil: of none
}

const (
	defaultMaxBytes       = 10 << 30
	defaultMaxValueBytes  = 16 << 20
	defaultMaxChanges     = 10_000
	defaultMaxChangeBytes = 64 << 20
	defaultMaxActionBytes = 64 << 20
	defaultHistory        = 100_000
	defaultRetention      = 7 * 24 * time.Hour
	defaultStatementCache = 128
	defaultCacheBytes     = 2 << 20
	checkpointBytes       = 4 << 20
	minMaxBytes           = 64 << 10 // Den's own tables need some
)

// WithDefaults returns the options with the defaults for what was left out, or ErrMisuse.
func (o Options) WithDefaults() (Options, error) {
	set(&o.MaxBytes, defaultMaxBytes)
	set(&o.MaxValueBytes, defaultMaxValueBytes)
	set(&o.MaxChanges, defaultMaxChanges)
	set(&o.MaxChangeBytes, defaultMaxChangeBytes)
	set(&o.MaxActionBytes, defaultMaxActionBytes)
	set(&o.History, defaultHistory)
	set(&o.Retention, defaultRetention)
	if o.Log != nil {
		o.Synchronous = Normal
	}
	set(&o.CheckpointBytes, checkpointBytes)
	set(&o.StatementCache, defaultStatementCache)
	set(&o.CacheBytes, defaultCacheBytes)
	if o.FS == nil {
		o.FS = vfs.Host()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	switch {
	case o.Path == "":
		return o, fmt.Errorf("storage: %w: Options.Path is empty", ErrMisuse)
	case o.Synchronous > Off:
		return o, fmt.Errorf("storage: %w: Options.Synchronous is %d", ErrMisuse, o.Synchronous)
	case o.MaxBytes < minMaxBytes:
		return o, fmt.Errorf("storage: %w: Options.MaxBytes is %d, the least is %d", ErrMisuse, o.MaxBytes, minMaxBytes)
	case o.MaxValueBytes < 0 || o.MaxChanges < 0 || o.MaxChangeBytes < 0 || o.MaxActionBytes < 0 || o.StatementCache < 0 || o.CacheBytes < 0:
		return o, fmt.Errorf("storage: %w: a negative limit", ErrMisuse)
	}
	return o, nil
}

// File is where the room's file is.
func (o Options) File() roomfile.File {
	f := roomfile.File{FS: o.FS, Path: o.Path}
	if o.Pool != nil {
		f.Known = &o.Pool.files
	}
	return f
}

func set[N int | int64 | time.Duration](n *N, to N) {
	if *n == 0 {
		*n = to
	}
}
