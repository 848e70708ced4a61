package commitlog

// What is written into a segment. Records go through a buffer, so that a group is one write.
// The payload of a large one does not: it is written from where it lies, or a transaction of
// 100 MB would be in memory twice.

import (
	"errors"

	"github.com/denrooms/den/storage/vfs"
)

// output writes records one behind the other.
type output struct {
	file vfs.File
	at   int64  // where the buffer's content goes
	buf  []byte // has not been written
	err  error  // of the first write that failed: none is tried after it
}

// begin begins a group at an offset.
func (o *output) begin(f vfs.File, at int64) {
	o.file, o.at, o.buf, o.err = f, at, o.buf[:0], nil
}

// end is where the next record goes.
func (o *output) end() int64 { return o.at + int64(len(o.buf)) }

// flush writes what is in the buffer, and returns the error of the first write that failed.
func (o *output) flush() error {
	o.write(o.buf)
	o.buf = o.buf[:0]
	if cap(o.buf) > keepBuffer { // an index can be so large
		o.buf = nil
	}
	return o.err
}

func (o *output) write(b []byte) {
	if o.err == nil && len(b) > 0 {
		_, o.err = o.file.WriteAt(b, o.at)
	}
	o.at += int64(len(b))
}

// put puts a record out, and fills in its checksums.
func (o *output) put(salt uint32, r *record, names string, payload []byte, more [][]byte) {
	if size := length(payload, more); size > writeBytes {
		o.putLarge(salt, r, names, payload, more)
		return
	}
	o.buf = appendRecord(o.buf, salt, r, names, payload, more...)
	o.spill()
}

// putLarge is put without a copy of what is large.
func (o *output) putLarge(salt uint32, r *record, names string, payload []byte, more [][]byte) {
	r.length, r.names = uint32(length(payload, more)), uint16(len(names))
	start := len(o.buf)
	o.buf = appendHeader(o.buf, salt, r, names)
	r.crc, r.cross = sum(salt, o.buf[start:]), crossSum(salt, o.buf[start:])
	o.piece(r, payload)
	for _, piece := range more {
		o.piece(r, piece)
	}
	o.piece(r, []byte(zeros[:r.padding()]))
	o.buf = r.appendTrailer(o.buf)
	o.spill()
}

// piece puts a part of a record out, and adds it to the checksums.
func (o *output) piece(r *record, b []byte) {
	r.crc, r.cross = sum(r.crc, b), crossSum(r.cross, b)
	if len(b) < smallPiece {
		o.buf = append(o.buf, b...)
		o.spill()
		return
	}
	o.write(o.buf)
	o.buf = o.buf[:0]
	o.write(b)
}

// spill writes the buffer if it is full.
func (o *output) spill() {
	if len(o.buf) >= writeBytes {
		o.write(o.buf)
		o.buf = o.buf[:0]
	}
}

// withdraw takes back what a write that has failed has left of a group, so that none of it is
// found after a crash, by those who were told that it was not written. If that fails too nobody knows
// what is there: the segment is written anew before anything else is, and the error is ErrIO alone.
func (l *Log) withdraw(err error) error {
	a, what := l.active, "writing "+segmentName(l.active.number)
	if failed := l.scrub(a, l.out.end()); failed != nil {
		l.mu.Lock()
		a.bad = true
		l.mu.Unlock()
		l.o.Logger.Error("commit log: a write failed, and what it has left cannot be removed", "file", segmentName(a.number), "error", failed)
		return unknown(what, errors.Join(undecided(err), undecided(failed)))
	}
	return unwritten(failure(what, err))
}

// scrub removes what lies after the records, up to an offset, and syncs that. On a full disk it can
// be overwritten, or cut off: that takes no space.
func (l *Log) scrub(a *active, to int64) error {
	size, err := l.o.FS.Size(l.path(a.number))
	if err != nil {
		return err
	}
	if size-a.end > 2*mostZeros || a.blankOut(min(size, to)) != nil { // others may need the space
		if err := a.file.Truncate(a.end); err != nil {
			return err
		}
		a.zeroed = a.end
	}
	if err := l.sync(a.file); err != nil {
		return err
	}
	a.synced = a.end
	return nil
}

// blankOut overwrites with zeros what lies after the records.
func (a *active) blankOut(to int64) error {
	for at := a.end; at < to; {
		n, err := a.file.WriteAt(a.blank[:min(to-at, int64(len(a.blank)))], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
