package roomfile

// The entries of a room that is refused. As long as the room's file cannot be opened, the commit log would have to keep the
// room's entries, and with them everything newer, until the disk is full and every room is down. So they are moved to a file
// beside the room's, NAME.entries. An operator who repairs the room's file finds them there, and so does the next Open. A
// restore makes them void.
//
//	NAME.entries, little endian
//	   0  "DenEntr\x00"
//	   8  u32  1, the version
//	  12  16   the log's ID
//	  28  u32  CRC-32C of what is before it
//	  32  the entries, those of one epoch together and in the order of their numbers, each:
//	        u32  length of the payload
//	        u32  flags; 1: the log's entries after this place are damaged or missing, and it is no entry
//	        u64  number
//	        u64  seq
//	        i64  Unix milliseconds
//	        16   epoch, as bytes
//	        u32  CRC-32C of what is before it in the entry, and of the payload
//	        the payload
//	  "DenEnd\x00\x00"

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/denrooms/den/storage/vfs"
)

const (
	entriesMagic   = "DenEntr\x00"
	entriesEnd     = "DenEnd\x00\x00"
	entriesVersion = 1
	entriesHeader  = 32
	entryHeader    = 52

	entryDamaged = 1
)

// An Entry is one transaction. Its Payload is valid during the call that it is given in.
type Entry struct {
	Number  uint64 // of the transaction in its room: 1, 2, 3 …
	Seq     uint64 // the room's seq after it
	At      int64  // Unix milliseconds
	Payload []byte // what it did to the file's pages: see package pagelog
}

// A Part is a room's part of the commit log, in one epoch.
type Part interface {
	// Range returns the first and the last number that the log has; 0, 0 if it has none.
	Range() (first, last uint64, err error)
	// Replay calls do with the entries whose numbers are above after, in order.
	Replay(after uint64, do func(Entry) error) error
	// Close ends the use of the part.
	Close()
}

// WriteEntries makes NAME.entries durable, from the entries of an old one, which may be nil, and those that the log with an ID has
// in some epochs. part opens the log's part of an epoch. If entries of the log are damaged or missing, the file says so.
func (f File) WriteEntries(log string, epochs []string, old *Entries, part func(epoch string) (Part, error)) error {
	f.Known.noteEntries(filepath.Dir(f.Path), true)
	err := f.writeBeside(EntriesSuffix, func(file vfs.File) error {
		w := &entriesWriter{w: bufio.NewWriter(io.NewOffsetWriter(file, 0))}
		w.header(log)
		for _, epoch := range slices.Compact(slices.Sorted(slices.Values(append(old.Epochs(), epochs...)))) {
			if err := w.history(epoch, old, slices.Contains(epochs, epoch), part); err != nil {
				return errors.Join(err, w.err)
			}
		}
		w.write([]byte(entriesEnd))
		if w.err == nil {
			w.err = w.w.Flush()
		}
		return w.err
	})
	if err == nil {
		err = f.SyncDir()
	}
	return err
}

// entriesWriter writes the file. The first error stays.
type entriesWriter struct {
	w   *bufio.Writer
	err error
}

func (w *entriesWriter) write(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

func (w *entriesWriter) header(log string) {
	id, err := hex.DecodeString(log)
	if err != nil || len(id) != 16 {
		w.err = fmt.Errorf("%w: the log's ID %q is not 32 hex digits", ErrMisuse, log)
		return
	}
	b := append([]byte(entriesMagic), entriesVersion, 0, 0, 0)
	b = append(b, id...)
	w.write(binary.LittleEndian.AppendUint32(b, castagnoli(0, b)))
}

// history writes the entries of one epoch: those of the old file, then those of the log that follow them. A power cut can
// bring back an old file of which the room needs nothing. Then the log's entries do not follow the old ones.
func (w *entriesWriter) history(epoch string, old *Entries, logged bool, part func(epoch string) (Part, error)) error {
	if !logged {
		_, err := w.old(epoch, old)
		return err
	}
	room, err := part(epoch)
	if err != nil {
		return err
	}
	defer room.Close()
	first, last, err := room.Range()
	var after uint64
	if n := len(old.Of(epoch)); n > 0 && (err != nil || first == 0 || old.Of(epoch)[n-1].Damaged || first <= old.Of(epoch)[n-1].Number+1) {
		var failed error
		if after, failed = w.old(epoch, old); failed != nil || after == math.MaxUint64 {
			return failed
		}
	} else if first > 0 {
		after = first - 1
	}
	if err == nil && last > after {
		err = room.Replay(after, func(e Entry) error { w.entry(epoch, 0, e); return w.err })
	}
	if errors.Is(err, ErrLogMismatch) || errors.Is(err, ErrLogMissing) {
		w.entry(epoch, entryDamaged, Entry{})
		return nil
	}
	return err
}

// old copies an epoch's entries from the old file, and returns the number of the newest; math.MaxUint64: they end
// where the next ones are damaged.
func (w *entriesWriter) old(epoch string, old *Entries) (newest uint64, err error) {
	for _, p := range old.Of(epoch) {
		if p.Damaged {
			w.entry(epoch, entryDamaged, Entry{})
			return math.MaxUint64, nil
		}
		e, err := old.Read(p)
		if err != nil {
			return 0, err
		}
		w.entry(epoch, 0, e)
		newest = p.Number
	}
	return newest, nil
}

func (w *entriesWriter) entry(epoch string, flags uint32, e Entry) {
	id, err := hex.DecodeString(epoch)
	if err != nil || len(id) != 16 {
		w.err = errors.Join(w.err, fmt.Errorf("%w: the epoch %q is not 32 hex digits", ErrMisuse, epoch))
		return
	}
	le := binary.LittleEndian
	b := le.AppendUint32(le.AppendUint32(nil, uint32(len(e.Payload))), flags)
	b = le.AppendUint64(le.AppendUint64(b, e.Number), e.Seq)
	b = append(le.AppendUint64(b, uint64(e.At)), id...)
	w.write(le.AppendUint32(b, castagnoli(castagnoli(0, b), e.Payload)))
	w.write(e.Payload)
}

func castagnoli(sum uint32, b []byte) uint32 {
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// Entries is an open NAME.entries. A nil one has no entries.
type Entries struct {
	f     File
	file  vfs.File
	index []Place // in the order of the file
}

// A Place is where an entry is in the file.
type Place struct {
	Number  uint64
	Damaged bool // it is not an entry: the log's entries after this place were damaged or missing

	epoch    string
	seq      uint64
	at       int64
	off, len int64 // of the payload
}

// ReadEntries opens NAME.entries. It returns nil if there is none. Errors: ErrCorrupt, ErrNewer, those of the file system.
func (f File) ReadEntries() (*Entries, error) {
	path := f.Path + EntriesSuffix
	size, err := f.FS.Size(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	file, err := f.FS.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	e := &Entries{f: f, file: file}
	if err = e.parse(size); err == nil {
		return e, nil
	}
	e.Close()
	if errors.Is(err, errEntries) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %s, which has entries that were moved out of the commit log: %w", ErrCorrupt, path, err)
	}
	return nil, err
}

var errEntries = errors.New("its parts do not fit together")

// parse reads the file, and checks all of it.
func (e *Entries) parse(size int64) error {
	le, r := binary.LittleEndian, bufio.NewReader(io.NewSectionReader(e.file, 0, size))
	h := make([]byte, entryHeader)
	if _, err := io.ReadFull(r, h[:entriesHeader]); err != nil {
		return err
	}
	switch {
	case string(h[:8]) != entriesMagic || le.Uint32(h[28:]) != castagnoli(0, h[:28]):
		return errEntries
	case le.Uint32(h[8:]) > entriesVersion:
		return fmt.Errorf("%w: it has version %d, this Den knows %d", ErrNewer, le.Uint32(h[8:]), entriesVersion)
	}
	at := int64(entriesHeader)
	for {
		if _, err := io.ReadFull(r, h[:8]); err != nil {
			return err
		}
		if string(h[:8]) == entriesEnd {
			return nil
		}
		if _, err := io.ReadFull(r, h[8:]); err != nil {
			return err
		}
		p := Place{
			epoch: hex.EncodeToString(h[32:48]), Number: le.Uint64(h[8:]), seq: le.Uint64(h[16:]), at: int64(le.Uint64(h[24:])),
			Damaged: le.Uint32(h[4:])&entryDamaged != 0, off: at + entryHeader, len: int64(le.Uint32(h)),
		}
		if at = p.off + p.len; at > size {
			return errEntries
		}
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		sum.Write(h[:48])
		if _, err := io.CopyN(sum, r, p.len); err != nil {
			return err
		}
		if sum.Sum32() != le.Uint32(h[48:]) {
			return errEntries
		}
		e.index = append(e.index, p)
	}
}

// Remove closes and removes the file, which is no longer needed. If that fails, the next Open removes it.
func (e *Entries) Remove() {
	e.Close()
	if e.f.FS.Remove(e.f.Path+EntriesSuffix) == nil {
		_ = e.f.SyncDir()
	}
}

// Close may be called more than once.
func (e *Entries) Close() {
	if e != nil {
		e.file.Close()
	}
}

// Epochs returns the epochs of the file's entries.
func (e *Entries) Epochs() (epochs []string) {
	if e == nil {
		return nil
	}
	for _, p := range e.index {
		if !slices.Contains(epochs, p.epoch) {
			epochs = append(epochs, p.epoch)
		}
	}
	return epochs
}

// Of returns the places of an epoch's entries, in the order of their numbers.
func (e *Entries) Of(epoch string) (places []Place) {
	if e == nil {
		return nil
	}
	for _, p := range e.index {
		if p.epoch == epoch {
			places = append(places, p)
		}
	}
	return places
}

// Read reads an entry.
func (e *Entries) Read(p Place) (Entry, error) {
	entry := Entry{Number: p.Number, Seq: p.seq, At: p.at, Payload: make([]byte, p.len)}
	n, err := e.file.ReadAt(entry.Payload, p.off)
	if n == len(entry.Payload) {
		err = nil
	}
	return entry, err
}

// HasNoEntries reports whether it is known that no room in the directory has a NAME.entries, which saves a new room the look for
// it before its first reply. It is known because the process has made the directory, or has read its names, and has made no
// NAME.entries there since. An operator must stop the process before putting one there.
func (f File) HasNoEntries() bool {
	may, known := f.Known.mayHaveEntries(filepath.Dir(f.Path))
	return known && !may
}

// lookForEntries reads the names in the room's directory, once in each process, for HasNoEntries. After an error nothing is known.
func (f File) lookForEntries() {
	dir := filepath.Dir(f.Path)
	if _, known := f.Known.mayHaveEntries(dir); known || f.Known == nil {
		return
	}
	names, err := f.FS.Names(dir)
	if err != nil {
		return
	}
	may := slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, EntriesSuffix) })
	f.Known.noteEntries(dir, may)
}
