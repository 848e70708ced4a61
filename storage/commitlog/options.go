package commitlog

import (
	"crypto/rand"
	"io"
	"log/slog"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// Durability says what has happened to an entry when Append returns.
type Durability uint8

const (
	// Durable: it survives a power cut.
	Durable Durability = iota
	// Relaxed: it was written, and survives the end of the process. Log.Sync makes it durable.
	Relaxed
)

// Limits and defaults.
const (
	// MaxEntry is the largest payload of an entry, in bytes.
	MaxEntry = segment.MaxEntry
	// MaxNames is how many bytes a namespace, a room's name and its epoch have together.
	MaxNames = 32 << 10
	// DefaultSegmentBytes is the default of Options.SegmentBytes for a log of up to
	// manySegments files. Beginning a file costs some milliseconds in which the disk's journal
	// is written, with all that is new in the rooms' files: at 2 MiB busy rooms were a tenth
	// slower.
	DefaultSegmentBytes = 8 << 20
	// DefaultIndexBytes is the most that Options.IndexBytes is by default. To read so much
	// after a crash takes about 3 ms.
	DefaultIndexBytes = 512 << 10
	// DefaultMaxUnreleased is the default of Options.MaxUnreleased.
	DefaultMaxUnreleased = 256 << 20

	maxSegmentBytes = 1 << 30
	maxSegmentEnd   = 1<<32 - 1 // more than any file of the log has
	manySegments    = 512       // with so many the files become larger, by the default's size for each such number
	maxGrowth       = 4         // up to so many times the default
	groupBytes      = 16 << 20  // a group has no more payload, if it has more than one entry
	maxSealedZeros  = 64 << 10  // a sealed segment may have so many zeros behind its end
	firstPrealloc   = 64 << 10  // a new segment is filled with so many zeros ahead, later twice as many, …
	maxPrealloc     = 1 << 20   // … up to this
	shrinkAbove     = 64 << 10  // an active segment without unreleased entries is left if it is larger
	maxFilters      = 32 << 20  // bytes of filters in memory
	shrinkRetry     = time.Second
)

// Options of a log. Only FS and Dir have to be set.
type Options struct {
	// FS has the log's files; nil means vfs.Host().
	FS vfs.FS
	// Dir is the log's own directory. Who opens the log has seen to it that nobody else does.
	Dir string
	// Durability: Durable by default.
	Durability Durability
	// SegmentBytes is the size in bytes above which a new file is begun; at most 1 GiB.
	// 0 means DefaultSegmentBytes, and up to 32 MiB in a log of many files.
	SegmentBytes int64
	// IndexBytes: behind so many bytes of the file that is written comes an index of them, so
	// that Open reads about as much after a crash. 0 means an eighth of SegmentBytes, at most
	// DefaultIndexBytes.
	IndexBytes int64
	// History is how long released entries are kept for Backward. 0: they go at once.
	History time.Duration
	// MaxUnreleased: when the segments from the oldest unreleased entry on have more bytes,
	// RequestCheckpoint is called for the rooms that hold them. 0 means DefaultMaxUnreleased.
	MaxUnreleased int64
	// RequestCheckpoint asks a room to checkpoint, Release and, if it sleeps, wake for it. It is called
	// by goroutines that append, without locks, once for a room and segment begun. May be nil.
	RequestCheckpoint func(namespace, room string)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Random is what the log's ID is made of; nil means crypto/rand.
	Random io.Reader
	// Logger is told what an operator should know; nil means nobody.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.FS == nil {
		o.FS = vfs.Host()
	}
	if o.MaxUnreleased == 0 {
		o.MaxUnreleased = DefaultMaxUnreleased
	}
	if o.IndexBytes == 0 {
		o.IndexBytes = DefaultIndexBytes
		if o.SegmentBytes > 0 {
			o.IndexBytes = min(max(o.SegmentBytes/8, 1), DefaultIndexBytes)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dir == "" || o.Durability > Relaxed || o.SegmentBytes < 0 || o.SegmentBytes > maxSegmentBytes || o.IndexBytes < 0 || o.History < 0 || o.MaxUnreleased < 0 {
		return o, misuse("Options out of range")
	}
	return o, nil
}

// segmentBytes is the size above which a new file is begun in a log of so many.
func (o Options) segmentBytes(segments int) int64 {
	if o.SegmentBytes != 0 {
		return o.SegmentBytes
	}
	return DefaultSegmentBytes * int64(min(1+segments/manySegments, maxGrowth))
}
