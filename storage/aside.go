package storage

// The entries of a room that is refused. While the room's file cannot be opened, the commit log would have to keep
// its entries, and with them everything that came later, until the disk is full and every room is down. So they are
// moved to a file beside the room's own, NAME.entries. Who repairs the room's file finds them there: Open takes what the
// file lacks from NAME.entries and then from the log. A restore makes them void.
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
	asideSuffix  = ".entries"
	asideMagic   = "DenEntr\x00"
	asideEnd     = "DenEnd\x00\x00"
	asideVersion = 1
	asideHeader  = 32
	asideEntry   = 52

	asideDamaged = 1
)

// forgetter is what a Log can do that keeps entries which rooms still need.
type forgetter interface {
	// Epochs are those of which the log keeps entries of a room that is not open.
	Epochs(namespace, room string) ([]string, error)
	// Forget lets go of them.
	Forget(namespace, room string)
}

// refusal reports whether an error of Open is one that waiting does not mend.
func refusal(err error) bool {
	for _, e := range []error{ErrInUse, ErrFull, ErrReadOnly, ErrClosed, ErrInterrupted} {
		if errors.Is(err, e) {
			return false
		}
	}
	for _, e := range []error{ErrNotDatabase, ErrCorrupt, ErrNewer, ErrWrongRoom, ErrLogMismatch, ErrLogMissing, ErrIO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sayMoved moves a refused room's entries out of the log, and adds to why it is refused where they are now. If
// what keeps them in the log is the same, it is not said twice.
func sayMoved(refused error, o Options) error {
	moved, err := putAside(o)
	switch {
	case moved != "":
		return fmt.Errorf("%w; what the commit log had of the room was moved to %s", refused, moved)
	case err == nil:
		return refused
	case strings.Contains(refused.Error(), err.Error()):
		return fmt.Errorf("%w; the commit log keeps what it has of the room", refused)
	}
	return fmt.Errorf("%w; the commit log keeps what it has of the room (%v)", refused, err)
}

// putAside moves a refused room's entries out of the log, and returns the path of the file that has them, "" if
// there are none. After an error the log keeps them.
func putAside(o Options) (path string, err error) {
	log, ok := o.Log.(forgetter)
	if !ok {
		return "", nil
	}
	epochs, err := log.Epochs(o.Namespace, o.Room)
	if err != nil || len(epochs) == 0 {
		return "", err
	}
	if err := o.makeNamesDurable(); err != nil {
		return "", err
	}
	old, err := readAside(o)
	if err != nil {
		return "", err
	}
	defer old.close()
	o.Kind.noteAside(filepath.Dir(o.Path), true)
	if err := writeAside(o, epochs, old); err != nil {
		return "", err
	}
	log.Forget(o.Namespace, o.Room)
	return o.Path + asideSuffix, nil
}

// writeAside makes the file of what the old one has and of what the log has.
func writeAside(o Options, epochs []string, old *aside) error {
	temp := o.Path + asideSuffix + ".new"
	f, err := createFile(o.FS, temp)
	if err != nil {
		return err
	}
	w := &asideWriter{w: bufio.NewWriter(&sequential{file: f})}
	w.header(o.Log.ID())
	for _, epoch := range slices.Compact(slices.Sorted(slices.Values(append(old.epochs(), epochs...)))) {
		if err = w.history(o, epoch, old, slices.Contains(epochs, epoch)); err != nil {
			break
		}
	}
	w.write([]byte(asideEnd))
	err = errors.Join(err, w.err)
	if err == nil {
		err = w.w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = o.FS.Rename(temp, o.Path+asideSuffix)
	}
	if err == nil {
		err = o.syncDir()
	}
	if err != nil {
		o.FS.Remove(temp)
	}
	return err
}

// asideWriter writes the file. The first error stays.
type asideWriter struct {
	w   *bufio.Writer
	err error
}

func (w *asideWriter) write(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

func (w *asideWriter) header(log string) {
	id, err := hex.DecodeString(log)
	if err != nil || len(id) != 16 {
		w.err = fmt.Errorf("%w: the log's ID %q is not 32 hex digits", ErrMisuse, log)
		return
	}
	b := append([]byte(asideMagic), asideVersion, 0, 0, 0)
	b = append(b, id...)
	w.write(binary.LittleEndian.AppendUint32(b, castagnoli(0, b)))
}

// history writes the entries of one epoch: the old file's, then the log's that follow them. An old file that a power
// cut has brought back may have none that the room still needs: then the log's do not follow them.
func (w *asideWriter) history(o Options, epoch string, old *aside, logged bool) error {
	if !logged {
		_, err := w.old(epoch, old)
		return err
	}
	room, err := o.part(epoch)
	if err != nil {
		return err
	}
	defer room.Close()
	first, last, err := room.Range()
	var after uint64
	if n := len(old.of(epoch)); n > 0 && (err != nil || first == 0 || old.of(epoch)[n-1].damaged || first <= old.of(epoch)[n-1].number+1) {
		var failed error
		if after, failed = w.old(epoch, old); failed != nil || after == math.MaxUint64 {
			return failed
		}
	} else if first > 0 {
		after = first - 1
	}
	if err == nil && last > after {
		err = room.Replay(after, func(e LogEntry) error { w.entry(epoch, 0, e); return w.err })
	}
	if errors.Is(err, ErrLogMismatch) || errors.Is(err, ErrLogMissing) {
		w.entry(epoch, asideDamaged, LogEntry{})
		return nil
	}
	return err
}

// old copies an epoch's entries from the old file, and returns the number of the newest; math.MaxUint64: they end
// where the next ones are damaged.
func (w *asideWriter) old(epoch string, old *aside) (newest uint64, err error) {
	for _, p := range old.of(epoch) {
		if p.damaged {
			w.entry(epoch, asideDamaged, LogEntry{})
			return math.MaxUint64, nil
		}
		e, err := old.read(p)
		if err != nil {
			return 0, err
		}
		w.entry(epoch, 0, e)
		newest = p.number
	}
	return newest, nil
}

func (w *asideWriter) entry(epoch string, flags uint32, e LogEntry) {
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

// aside is an open file of entries. A nil one has none.
type aside struct {
	f     vfs.File
	index []asidePlace // in the order of the file
}

// asidePlace is where an entry lies.
type asidePlace struct {
	epoch    string
	number   uint64
	seq      uint64
	at       int64
	damaged  bool
	off, len int64 // of the payload
}

// readAside opens the file of entries; nil if there is none.
func readAside(o Options) (*aside, error) {
	path := o.Path + asideSuffix
	size, err := o.FS.Size(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		return nil, fmt.Errorf("%w: %s has transactions that the file lacks; open it with a log", ErrLogMissing, path)
	}
	f, err := o.FS.Open(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	a := &aside{f: f}
	if err = a.parse(size); err == nil {
		return a, nil
	}
	a.close()
	if errors.Is(err, errAside) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %s, which has entries that were moved out of the commit log: %w", ErrCorrupt, path, err)
	}
	return nil, err
}

var errAside = errors.New("its parts do not fit together")

// parse reads the file, and checks all of it.
func (a *aside) parse(size int64) error {
	le, r := binary.LittleEndian, bufio.NewReader(io.NewSectionReader(a.f, 0, size))
	h := make([]byte, asideEntry)
	if _, err := io.ReadFull(r, h[:asideHeader]); err != nil {
		return err
	}
	switch {
	case string(h[:8]) != asideMagic || le.Uint32(h[28:]) != castagnoli(0, h[:28]):
		return errAside
	case le.Uint32(h[8:]) > asideVersion:
		return fmt.Errorf("%w: it has version %d, this Den knows %d", ErrNewer, le.Uint32(h[8:]), asideVersion)
	}
	at := int64(asideHeader)
	for {
		if _, err := io.ReadFull(r, h[:8]); err != nil {
			return err
		}
		if string(h[:8]) == asideEnd {
			return nil
		}
		if _, err := io.ReadFull(r, h[8:]); err != nil {
			return err
		}
		p := asidePlace{
			epoch: hex.EncodeToString(h[32:48]), number: le.Uint64(h[8:]), seq: le.Uint64(h[16:]), at: int64(le.Uint64(h[24:])),
			damaged: le.Uint32(h[4:])&asideDamaged != 0, off: at + asideEntry, len: int64(le.Uint32(h)),
		}
		if at = p.off + p.len; at > size {
			return errAside
		}
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		sum.Write(h[:48])
		if _, err := io.CopyN(sum, r, p.len); err != nil {
			return err
		}
		if sum.Sum32() != le.Uint32(h[48:]) {
			return errAside
		}
		a.index = append(a.index, p)
	}
}

// remove removes the file, of which nothing is needed any more. One that stays is removed by the next Open.
func (a *aside) remove(o Options) {
	a.close()
	if o.FS.Remove(o.Path+asideSuffix) == nil {
		_ = o.syncDir()
	}
}

// close may be called more than once.
func (a *aside) close() {
	if a != nil {
		a.f.Close()
	}
}

// epochs are those that the file has entries of.
func (a *aside) epochs() (epochs []string) {
	if a == nil {
		return nil
	}
	for _, p := range a.index {
		if !slices.Contains(epochs, p.epoch) {
			epochs = append(epochs, p.epoch)
		}
	}
	return epochs
}

// of are the places of an epoch's entries.
func (a *aside) of(epoch string) (places []asidePlace) {
	if a == nil {
		return nil
	}
	for _, p := range a.index {
		if p.epoch == epoch {
			places = append(places, p)
		}
	}
	return places
}

// before puts the file's entries of an epoch before those that the log has, if there are some above the number
// that the room's own file has reached. A file of entries that was removed may be there again after a power cut.
func (a *aside) before(o Options, room RoomLog, epoch string, reached uint64) RoomLog {
	places := a.of(epoch)
	n := len(places)
	if n == 0 {
		return room
	}
	if last := places[n-1]; !last.damaged && last.number <= reached {
		a.remove(o)
		return room
	}
	return &patchedLog{RoomLog: room, o: o, a: a, places: places}
}

// plain gives a room's part of the log without them, when the room's file has them.
func plain(room RoomLog) RoomLog {
	if p, ok := room.(*patchedLog); ok {
		return p.RoomLog
	}
	return room
}

// patchedLog is a room's part of the log, with entries before it that were moved out of it.
type patchedLog struct {
	RoomLog
	o      Options
	a      *aside
	places []asidePlace // at least one
}

// newest is the number of the newest entry that was moved. The error says that there were others,
// which were damaged.
func (p *patchedLog) newest() (uint64, error) {
	last := p.places[len(p.places)-1]
	if last.damaged {
		return 0, fmt.Errorf("%w: some of the entries that the commit log had of the room were damaged; restore a backup of it", ErrLogMismatch)
	}
	return last.number, nil
}

func (p *patchedLog) Last() uint64 {
	number, err := p.newest()
	if err != nil {
		return math.MaxUint64 // whoever asks for it finds out
	}
	return max(number, p.RoomLog.Last())
}

func (p *patchedLog) Range() (first, last uint64, err error) {
	number, err := p.newest()
	if err != nil {
		return 0, 0, err
	}
	_, last, err = p.RoomLog.Range()
	return p.places[0].number, max(last, number), err
}

func (p *patchedLog) Replay(after uint64, do func(LogEntry) error) error {
	number, err := p.newest()
	if err != nil {
		return err
	}
	for _, place := range p.places {
		if place.number <= after {
			continue
		}
		e, err := p.a.read(place)
		if err == nil {
			err = do(e)
		}
		if err != nil {
			return err
		}
	}
	if after = max(after, number); p.RoomLog.Last() <= after {
		return nil
	}
	return p.RoomLog.Replay(after, do)
}

// Release removes the file when the room's own has all that is in it.
func (p *patchedLog) Release(through uint64) {
	if number, err := p.newest(); err == nil && through >= number {
		p.a.remove(p.o)
	}
	p.RoomLog.Release(through)
}

// read reads an entry.
func (a *aside) read(p asidePlace) (LogEntry, error) {
	e := LogEntry{Number: p.number, Seq: p.seq, At: p.at, Payload: make([]byte, p.len)}
	n, err := a.f.ReadAt(e.Payload, p.off)
	if n == len(e.Payload) {
		err = nil
	}
	return e, err
}
