package commitlog

import (
	"crypto/rand"
	"io"
	"log/slog"
	"time"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// Limits and defaults.
const (
	// MaxEntry is the largest payload of an entry, in bytes.
	MaxEntry = segment.MaxEntry
	// MaxNames is the largest length of namespace, room and epoch together, in bytes.
	MaxNames = 32 << 10
	// DefaultSegmentBytes is the default of Options.SegmentBytes for a log of up to manySegments files. To begin a
	// file costs some milliseconds, in which the file system writes its journal, with all that is new in the rooms'
	// files. At 2 MiB busy rooms were a tenth slower.
	DefaultSegmentBytes = 8 << 20
	// DefaultIndexBytes is the largest default of Options.IndexBytes. To read so much after a crash takes about 3 ms.
	DefaultIndexBytes = 512 << 10
	// DefaultMaxUnreleased is the default of Options.MaxUnreleased.
	DefaultMaxUnreleased = 256 << 20

	maxSegmentBytes = 1 << 30
	maxSegmentEnd   = 1<<32 - 1   // more than the size of any segment
	manySegments    = 512         // the default size grows by DefaultSegmentBytes for each so many segments
	maxGrowth       = 4           // up to so many times DefaultSegmentBytes
	groupBytes      = 16 << 20    // the most payload of a group of several entries
	maxSealedZeros  = 64 << 10    // the most zeros after the end of a sealed segment
	firstPrealloc   = 64 << 10    // how much of a new segment is preallocated; each later step is twice as large, …
	maxPrealloc     = 1 << 20     // … up to this
	shrinkAbove     = 64 << 10    // an active segment without unreleased entries is replaced above this size
	maxFilters      = 32 << 20    // bytes of filters in memory
	shrinkRetry     = time.Second // after shrink has failed
)

// Options of a log. Only Dir has to be set.
type Options struct {
	// FS has the log's files. nil means vfs.Host().
	FS vfs.FS
	// Dir is the log's own directory. The caller makes sure that no other process opens it.
	Dir string
	// Relaxed has Append return when the entry is written, and so survives the end of the process. Log.Sync makes it durable. A log
	// that is not Relaxed makes each entry durable before Append returns.
	Relaxed bool
	// SegmentBytes is the size in bytes above which a new segment is begun, at most 1 GiB. 0 means
	// DefaultSegmentBytes, and up to 32 MiB in a log of many segments.
	SegmentBytes int64
	// IndexBytes is how many bytes are written between two indexes of the active segment. Open reads about as much
	// after a crash. 0 means an eighth of SegmentBytes, at most DefaultIndexBytes.
	IndexBytes int64
	// History is how long released entries are kept for Backward. 0 means not at all.
	History time.Duration
	// MaxUnreleased is the size in bytes of the segments from the oldest unreleased entry on above which
	// RequestCheckpoint is called. 0 means DefaultMaxUnreleased.
	MaxUnreleased int64
	// RequestCheckpoint asks a room that keeps old segments to checkpoint and Release; a room that sleeps wakes for it.
	// It is called by goroutines that append, without locks, at most once for each room and rotation. It may be nil.
	RequestCheckpoint func(namespace, room string)
	// Now is the clock. nil means time.Now.
	Now func() time.Time
	// Random is where the log's ID comes from. nil means crypto/rand.
	Random io.Reader
	// Logger gets what an operator should know. nil means that nothing is logged.
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
	if o.Dir == "" || o.SegmentBytes < 0 || o.SegmentBytes > maxSegmentBytes || o.IndexBytes < 0 || o.History < 0 || o.MaxUnreleased < 0 {
		return o, misuse("Options out of range")
	}
	return o, nil
}

// segmentBytes returns the size above which a new segment is begun, in a log of so many.
func (o Options) segmentBytes(segments int) int64 {
	if o.SegmentBytes != 0 {
		return o.SegmentBytes
	}
	return DefaultSegmentBytes * int64(min(1+segments/manySegments, maxGrowth))
}
