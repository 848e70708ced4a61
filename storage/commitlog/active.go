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
	"sync"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// output is what the active segments of a log, one after the other, have in common.
type output struct {
	dir        *directory
	indexBytes int64  // Options.IndexBytes
	zeros      []byte // for preallocation
	writer     segment.Writer

	mu      *sync.Mutex // of the log; protects what follows
	indexes uint64      // written into segments before their end
}

// active is the active segment. The leader owns it. The leader changes end, index, unindexed, entries and failed under
// output.mu, so that others may read them under it.
type active struct {
	*logSegment
	out     *output
	file    vfs.File
	end     int64  // where the next record goes; all before it was acknowledged
	synced  int64  // how much of the segment is durable
	chain   uint32 // checksum of the last record
	entries uint64
	index   segment.Places

	allocated int64 // zeros, or records, are written up to here
	nextAlloc int64 // how many zeros to write next
	limit     int64 // about where the segment ends; it is not preallocated further

	indexedTo int64            // where the newest index ends: what follows is in no index
	unindexed []*segment.Place // of the rooms that have entries there
	indexAt   uint32           // offset of the newest index's record; 0: none
	hints     int              // how many were written

	failed bool // a sync failed: the file has to be rewritten
	sealed bool // but the next segment could not be begun yet
}

// written is a group that was written, and not yet acknowledged.
type written struct {
	end, indexedTo int64
	chain          uint32
}

// begin makes the file of a segment, durable with its name. A file that an earlier attempt has left under this name
// was never named by CURRENT, and is removed. nextAlloc and limit are those of the segment.
func (o *output) begin(h segment.Header, nextAlloc, limit int64) (a *active, err error) {
	name := segment.Name(h.Number)
	if err := o.dir.remove(name); err != nil {
		return nil, failure("removing "+name, err)
	}
	f, err := o.dir.open(h.Number, os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	preamble, salt := h.Encode()
	a = &active{
		logSegment: &logSegment{File: segment.File{Number: h.Number, Salt: salt}, generation: h.Generation},
		out:        o, file: f, end: segment.Start, synced: segment.Start, chain: salt, allocated: segment.Start, indexedTo: segment.Start,
		nextAlloc: nextAlloc, limit: limit, index: segment.Places{Of: make(map[segment.Key]*segment.Place)},
	}
	if _, err = f.WriteAt(preamble, 0); err == nil {
		a.preallocate()
		err = o.dir.sync(f)
	}
	if err == nil {
		err = o.dir.syncNames()
	}
	if err != nil {
		f.Close()
		return nil, failure("beginning "+name, err)
	}
	return a, nil
}

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
		n, err := a.file.WriteAt(a.out.zeros[:min(left, int64(len(a.out.zeros)))], a.allocated)
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

// write writes a group of records, which begins with an index if enough was written since the index before it. An
// error says whether nothing of the group is in the log.
func (a *active) write(group []*request) (w written, err error) {
	out := &a.out.writer
	out.Begin(a.file, a.end)
	w.chain, w.indexedTo = a.chain, a.indexedTo
	if a.end-a.indexedTo >= a.out.indexBytes && len(a.unindexed) > 0 {
		if a.synced < a.end { // the log is Relaxed
			if err := a.sync(a.end); err != nil {
				return w, unwritten(err)
			}
		}
		rec := segment.Record{Chain: a.chain, Synced: uint32(a.synced), Previous: a.indexAt}
		out.PutIndex(a.Salt, &rec, a.unindexed)
		w.chain, w.indexedTo = rec.CRC, out.End()
	}
	a.ensureAllocated(out.End() - a.end + a.chooseFlags(group))
	w.chain = a.encode(group, w.chain)
	if err := out.Flush(); err != nil {
		return w, a.undoWrite(err)
	}
	w.end = out.End()
	if w.indexedTo != a.indexedTo {
		a.writeHint()
	}
	return w, nil
}

// acknowledge makes a group, which was written and is as durable as it has to be, a part of the segment. mu is held.
func (a *active) acknowledge(w written, group []*request) {
	if w.indexedTo != a.indexedTo { // the group begins with an index
		a.indexAt, a.indexedTo, a.unindexed = uint32(a.end), w.indexedTo, a.unindexed[:0]
		a.hints++
		a.out.indexes++
	}
	a.end, a.chain = w.end, w.chain
	for _, r := range group {
		a.entries++
		r.room.noteAppended(a, r)
	}
}

// writeHint says where the index is that begins the group. After an error the next Open reads more.
func (a *active) writeHint() {
	at, b := segment.Hint(a.Salt, a.hints, uint32(a.end))
	_, _ = a.file.WriteAt(b, at)
}

// chooseFlags sets the flags of a group's records, and returns how many bytes the records have.
func (a *active) chooseFlags(group []*request) (bytes int64) {
	for _, r := range group {
		r.flags = 0
		if r.room.last == 0 || r.entry.Number != r.room.last+1 {
			r.flags = segment.FlagStarts
		}
		names := 0
		if r.room.lastIn != a.logSegment || r.flags&segment.FlagStarts != 0 {
			r.flags |= segment.FlagNames
			names = len(r.room.id.Names)
		}
		bytes += int64(segment.RecordSize(names, r.size))
	}
	return bytes
}

// encode gives a group's records to the writer. chain is the checksum of the record before them; encode returns that
// of the last one.
func (a *active) encode(group []*request, chain uint32) uint32 {
	for _, r := range group {
		rec := segment.Record{
			Chain: chain, Synced: uint32(a.synced), RoomChain: r.room.lastCRC, Flags: r.flags,
			Number: r.entry.Number, Seq: r.entry.Seq, At: r.entry.At, Key: r.room.id.Key,
		}
		if r.flags&segment.FlagStarts != 0 {
			rec.RoomChain = 0
		}
		names := ""
		if r.flags&segment.FlagNames != 0 {
			names = r.room.id.Names
		} else {
			rec.Previous, rec.Root = r.room.lastAt, a.index.Of[r.room.id.Key].Root
		}
		r.at = uint32(a.out.writer.End())
		a.out.writer.Put(a.Salt, &rec, names, r.entry.Payload, r.pieces)
		r.crc, chain = rec.CRC, rec.CRC
	}
	return chain
}

// sync makes durable what was written, up to end.
func (a *active) sync(end int64) error {
	a.out.dir.syncs.Add(1)
	if err := a.file.Sync(); err != nil {
		a.noteFailure("a sync failed", err)
		return unknownOutcome("syncing "+segment.Name(a.Number), err)
	}
	a.synced = end
	return nil
}

// seal ends the segment with an index of all of it, which has a filter, and closes the file. After an error it may be tried again.
func (a *active) seal() (filter segment.Filter, size int64, err error) {
	footer, filter := a.index.Footer(a.Salt)
	size = a.end + int64(len(footer))
	_, err = a.file.WriteAt(footer, a.end)
	if err == nil && a.allocated-size > maxSealedZeros { // to free a few takes long and gains little
		err = a.file.Truncate(size)
	}
	if err != nil {
		a.allocated = a.end
		return nil, 0, failure("sealing "+segment.Name(a.Number), err)
	}
	if err := a.sync(a.end); err != nil {
		return nil, 0, err
	}
	a.close()
	return filter, size, nil
}

// scan reads the acknowledged part of the segment, of which all up to an offset has to be there, and checks it. The
// caller closes f.
func (a *active) scan(sure int64) (s *segment.Scan, f vfs.File, err error) {
	if f, err = a.out.dir.open(a.Number, os.O_RDONLY); err != nil {
		return nil, nil, err
	}
	if s, err = a.Scan(f, sure, a.end, nil); err != nil {
		f.Close()
		return nil, nil, failure("reading "+segment.Name(a.Number), err)
	}
	a.out.dir.logDamage(a.Number, s)
	return s, f, nil
}

// rewrite writes what was scanned into a new file in the segment's place, and seals that.
func (a *active) rewrite(s *segment.Scan) (filter segment.Filter, size int64, err error) {
	footer, filter := a.index.Footer(a.Salt)
	a.close()
	err = a.out.dir.replace(segment.Name(a.Number), func(to vfs.File) error {
		if err := s.CopyTo(to, a.end); err != nil {
			return err
		}
		_, err := to.WriteAt(footer, a.end)
		return err
	})
	return filter, a.end + int64(len(footer)), err
}

// noteFailure notes that the content of the file is unknown.
func (a *active) noteFailure(what string, err error) {
	a.out.mu.Lock()
	a.failed = true
	a.out.mu.Unlock()
	a.out.dir.logger.Error("commit log: "+what, "file", segment.Name(a.Number), "error", err)
}

// undoWrite removes what a failed write has left of a group, so that no entry appears after a crash whose Append
// said that it was not written. err is the write's error. If undoing fails too, the content of the disk is unknown: the
// segment has to be rewritten, and the error is ErrIO alone.
func (a *active) undoWrite(err error) error {
	what := "writing " + segment.Name(a.Number)
	if failed := a.removeRest(a.out.writer.End()); failed != nil {
		a.noteFailure("a write failed, and what it has left cannot be removed", failed)
		return unknownOutcome(what, errors.Join(segment.NotFull(err), segment.NotFull(failed)))
	}
	return unwritten(failure(what, err))
}

// removeRest removes what follows the records, up to an offset, and syncs that. Overwriting and cutting off take no space,
// so they work on a full disk.
func (a *active) removeRest(to int64) error {
	size, err := a.out.dir.size(a.Number)
	if err != nil {
		return err
	}
	if size-a.end > 2*maxPrealloc || a.overwriteRest(min(size, to)) != nil { // others may need the space
		if err := a.file.Truncate(a.end); err != nil {
			return err
		}
		a.allocated = a.end
	}
	if err := a.out.dir.sync(a.file); err != nil {
		return err
	}
	a.synced = a.end
	return nil
}

// overwriteRest overwrites with zeros what follows the records.
func (a *active) overwriteRest(to int64) error {
	for at := a.end; at < to; {
		n, err := a.file.WriteAt(a.out.zeros[:min(to-at, int64(len(a.out.zeros)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
