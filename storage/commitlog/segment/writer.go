package segment

// Writing records. They go through a buffer, so that a group is one write. A large payload is written from the
// caller's memory, so that a transaction of 100 MB is not in memory twice.

import "github.com/denrooms/den/storage/vfs"

const (
	writeBytes       = 1 << 20  // what is written goes through a buffer of so many bytes; a record that is larger, around it
	maxBufferedPiece = 64 << 10 // except for its pieces that are smaller than this
)

// Writer writes records one after the other, through a buffer of 1 MiB of its own.
type Writer struct {
	file vfs.File
	at   int64  // where the buffer's content goes
	buf  []byte // has not been written
	err  error  // of the first write that failed: none is tried after it
}

// Begin begins a group of records at an offset of a file.
func (o *Writer) Begin(f vfs.File, at int64) { o.file, o.at, o.buf, o.err = f, at, o.buf[:0], nil }

// End returns the offset of the next record.
func (o *Writer) End() int64 { return o.at + int64(len(o.buf)) }

// Flush writes the buffer, and returns the error of the first write since Begin that failed.
func (o *Writer) Flush() error {
	o.write(o.buf)
	o.buf = o.buf[:0]
	if cap(o.buf) > maxKeptBuffer { // an index can be this large
		o.buf = nil
	}
	return o.err
}

func (o *Writer) write(b []byte) {
	if o.err == nil && len(b) > 0 {
		_, o.err = o.file.WriteAt(b, o.at)
	}
	o.at += int64(len(b))
}

// PutIndex writes the index of a part of a segment as a record, whose number and flags it sets. It sorts places.
func (o *Writer) PutIndex(salt uint32, r *Record, places []*Place) {
	content, _ := encodeIndex(places, salt, 0)
	r.Number, r.Flags = uint64(len(places)), FlagIndex
	o.Put(salt, r, "", content, nil)
}

// Put writes a record, whose payload is in pieces, and sets its lengths and checksums. names is "" except for a
// record with FlagNames. Put keeps nothing of the payload. Flush returns the error.
func (o *Writer) Put(salt uint32, r *Record, names string, payload []byte, more [][]byte) {
	if size := length(payload, more); size > writeBytes {
		o.putLarge(salt, r, names, payload, more)
		return
	}
	o.buf = appendRecord(o.buf, salt, r, names, payload, more...)
	o.flushIfFull()
}

// putLarge is Put without a copy of what is large.
func (o *Writer) putLarge(salt uint32, r *Record, names string, payload []byte, more [][]byte) {
	r.Length, r.namesLength = uint32(length(payload, more)), uint16(len(names))
	start := len(o.buf)
	o.buf = appendHeader(o.buf, salt, r, names)
	r.CRC, r.ieee = Sum(salt, o.buf[start:]), sumIEEE(salt, o.buf[start:])
	o.putPiece(r, payload)
	for _, piece := range more {
		o.putPiece(r, piece)
	}
	o.putPiece(r, []byte(zeros[:r.padding()]))
	o.buf = r.appendTrailer(o.buf)
	o.flushIfFull()
}

// putPiece writes a part of a record, and adds it to the checksums.
func (o *Writer) putPiece(r *Record, b []byte) {
	r.CRC, r.ieee = Sum(r.CRC, b), sumIEEE(r.ieee, b)
	if len(b) < maxBufferedPiece {
		o.buf = append(o.buf, b...)
		o.flushIfFull()
		return
	}
	o.write(o.buf)
	o.buf = o.buf[:0]
	o.write(b)
}

func (o *Writer) flushIfFull() {
	if len(o.buf) >= writeBytes {
		o.write(o.buf)
		o.buf = o.buf[:0]
	}
}
