package commitlog

// What is written into a segment. Records go through a buffer, so that a group is one write.
// The payload of a large one does not: it is written from where it lies, or a transaction of
// 100 MB would be in memory twice.

import "github.com/denrooms/den/storage/vfs"

// output writes records one behind the other.
type output struct {
	file vfs.File
	at   int64  // where the buffer's content goes
	buf  []byte // has not been written
	err  error  // of the first write that failed: none is tried behind it
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
