package commitlog

// The active segment: its creation, preallocation, syncs, and the indexes within it.
//
// An index is written at the beginning of a group once Options.IndexBytes have been written since the index before
// it. Two hints at the beginning of the segment, written in turn, say where the newest indexes are. So after a crash Open
// reads only what follows the newest index.
//
// Open never believes a stale or torn index, for three reasons. An index is written only when all records before it are
// durable, and says so. It is a record, with a record's checksums, which begin with the segment's salt. And a hint that
// leads to anything else counts as no hint. A hint that is missing only costs time. So it may become durable before
// its index, or not at all, or lead to an index whose group was undone.

import (
	"errors"
	"os"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// active is the active segment. The leader owns it. The leader changes end, index, unindexed, entries and failed under
// Log.mu, so that others may read them under it.
type active struct {
	*logSegment
	file    vfs.File
	end     int64  // where the next record goes; all before it was acknowledged
	synced  int64  // how much of the segment is durable
	chain   uint32 // checksum of the last record
	entries uint64
	index   segment.Places

	allocated int64  // zeros, or records, are written up to here
	nextAlloc int64  // how many zeros to write next
	limit     int64  // about where the segment ends; it is not preallocated further
	zeros     []byte // shared with the log

	indexedTo int64            // where the newest index ends: what follows is in no index
	unindexed []*segment.Place // of the rooms that have entries there
	indexAt   uint32           // offset of the newest index's record; 0: none
	hints     int              // how many were written

	failed bool // a sync failed: the file has to be rewritten
	sealed bool // but the next segment could not be begun yet
}

// createSegment makes the file of a segment, durable with its name. A file that an earlier attempt has left under
// this name was never named by CURRENT, and is removed.
func (l *Log) createSegment(number uint64) (a *active, err error) {
	path := l.path(number)
	h := segment.Header{
		ID: l.id, Number: number, Generation: l.generation, Begun: l.o.Now().UnixMilli(), First: number, Floor: number,
		Unsynced: l.relaxedCrash, Relaxed: l.o.Durability == Relaxed,
	}
	if l.active != nil || len(l.segments) > 0 {
		l.mu.Lock()
		h.First, h.Floor = l.first(), l.floor()
		l.mu.Unlock()
	}
	if err := l.removeIfThere(path); err != nil {
		return nil, failure("removing "+segment.Name(number), err)
	}
	f, err := l.o.FS.Open(path, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, failure("creating "+segment.Name(number), err)
	}
	preamble, salt := h.Encode()
	zeros := min(firstPrealloc, l.o.segmentBytes(0))
	if l.active != nil { // a busy log goes on with as many as before
		zeros = min(l.active.nextAlloc, l.o.segmentBytes(0))
	}
	a = &active{
		logSegment: &logSegment{File: segment.File{Number: number, Salt: salt}, generation: l.generation},
		file:       f, end: segment.Start, synced: segment.Start, chain: salt, allocated: segment.Start, indexedTo: segment.Start, nextAlloc: zeros,
		limit: l.o.segmentBytes(len(l.segments)),
		index: segment.Places{Of: make(map[segment.Key]*segment.Place)}, zeros: l.zeros,
	}
	if _, err = f.WriteAt(preamble, 0); err == nil {
		a.preallocate()
		err = l.sync(f)
	}
	if err == nil {
		err = l.syncDir()
	}
	if err != nil {
		f.Close()
		return nil, failure("beginning "+segment.Name(number), err)
	}
	return a, nil
}

// close closes the file if it is open.
func (a *active) close() {
	if a.file != nil {
		a.file.Close() // what had to be synced was
		a.file = nil
	}
}

// preallocate writes zeros ahead, so that later syncs have only data to write and no metadata of the file. After an
// error the file grows with each write instead.
func (a *active) preallocate() {
	for left := min(a.nextAlloc, a.limit-a.allocated); left > 0; {
		n, err := a.file.WriteAt(a.zeros[:min(left, int64(len(a.zeros)))], a.allocated)
		if a.allocated += int64(n); err != nil {
			return
		}
		left -= int64(n)
	}
	a.nextAlloc = min(2*a.nextAlloc, maxPrealloc)
}

// ensureAllocated preallocates if the next n bytes do not fit into what is allocated.
func (a *active) ensureAllocated(n int64) {
	if a.end+n <= a.allocated {
		return
	}
	a.allocated = max(a.allocated, a.end+n) // the records themselves are written anyway
	a.preallocate()
}

// startGroup begins a group in the writer, with an index if enough was written since the index before it. It returns the
// checksum that the group's first record has to hold, and where the newest index then ends.
func (l *Log) startGroup() (chain uint32, indexedTo int64, err error) {
	a := l.active
	if a.end-a.indexedTo < l.o.IndexBytes || len(a.unindexed) == 0 {
		return a.chain, a.indexedTo, nil
	}
	if a.synced < a.end { // the log is Relaxed
		if err := l.syncActive(a.end); err != nil {
			return 0, 0, err
		}
	}
	rec := segment.Record{Chain: a.chain, Synced: uint32(a.synced), Previous: a.indexAt}
	l.writer.PutIndex(a.Salt, &rec, a.unindexed)
	return rec.CRC, l.writer.End(), nil
}

// writeHint says where the index is that begins the group. After an error the next Open reads more.
func (a *active) writeHint() {
	at, b := segment.Hint(a.Salt, a.hints, uint32(a.end))
	_, _ = a.file.WriteAt(b, at)
}

// syncActive makes durable what was written, up to end. The leader calls it.
func (l *Log) syncActive(end int64) error {
	a := l.active
	l.syncs.Add(1)
	if err := a.file.Sync(); err != nil {
		l.mu.Lock()
		a.failed = true
		l.mu.Unlock()
		l.o.Logger.Error("commit log: a sync failed", "file", segment.Name(a.Number), "error", err)
		return unknownOutcome("syncing "+segment.Name(a.Number), err)
	}
	a.synced = end
	return nil
}

// undoWrite removes what a failed write has left of a group, so that no entry appears after a crash whose Append
// said that it was not written. err is the write's error. If undoing fails too, the content of the disk is unknown: the
// segment has to be rewritten, and the error is ErrIO alone.
func (l *Log) undoWrite(err error) error {
	a, what := l.active, "writing "+segment.Name(l.active.Number)
	if failed := l.removeRest(a, l.writer.End()); failed != nil {
		l.mu.Lock()
		a.failed = true
		l.mu.Unlock()
		l.o.Logger.Error("commit log: a write failed, and what it has left cannot be removed", "file", segment.Name(a.Number), "error", failed)
		return unknownOutcome(what, errors.Join(segment.NotFull(err), segment.NotFull(failed)))
	}
	return unwritten(failure(what, err))
}

// removeRest removes what follows the records, up to an offset, and syncs that. Overwriting and cutting off take no space,
// so they work on a full disk.
func (l *Log) removeRest(a *active, to int64) error {
	size, err := l.o.FS.Size(l.path(a.Number))
	if err != nil {
		return err
	}
	if size-a.end > 2*maxPrealloc || a.overwriteRest(min(size, to)) != nil { // others may need the space
		if err := a.file.Truncate(a.end); err != nil {
			return err
		}
		a.allocated = a.end
	}
	if err := l.sync(a.file); err != nil {
		return err
	}
	a.synced = a.end
	return nil
}

// overwriteRest overwrites with zeros what follows the records.
func (a *active) overwriteRest(to int64) error {
	for at := a.end; at < to; {
		n, err := a.file.WriteAt(a.zeros[:min(to-at, int64(len(a.zeros)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
