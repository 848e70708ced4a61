package storage

// Putting another file in a room's place: a backup that is restored, or a file that an
// import has made. It is built, checked and synced beside the place while the room goes
// on, and then takes the place by one rename, when nobody has the room open: a crash
// leaves the old room or the new one.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/vfs"
)

// keptForm is the time in the name under which a replaced file is kept, in UTC.
const keptForm = "20060102T150405.000Z"

// A Replacement is a file that is ready to take a room's place. It is used by one
// goroutine at a time. A room has one at a time: preparing another removes the file of the first,
// whose Install then fails.
type Replacement struct {
	o     Options
	temp  string
	fresh bool // there was no such room

	carry   []string // tables that stay; see Carry
	carried []keptTable
}

// PrepareRestore makes a replacement for the room of o from a backup, or from any whole
// file of a room, with the WAL that may be beside it. The source is only read, and is not
// to be in use. Namespace and room become those of o, the epoch is a new one.
//
// Errors: ErrNotDatabase, ErrNewer, ErrCorrupt for a source that is refused, ErrLogMissing
// for a file whose last transactions are in a commit log and not in it; ErrFull, ErrIO.
func PrepareRestore(o Options, source string) (*Replacement, error) {
	r, err := newReplacement(o)
	if err != nil {
		return nil, err
	}
	if err := r.copyFrom(source); err != nil {
		r.Discard()
		return nil, fmt.Errorf("restore from %s: %w", source, diagnose(source, err))
	}
	return r, nil
}

func newReplacement(o Options) (*Replacement, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	temp, err := uniqueName(o.Random, o.Path+restoreInfix)
	if err == nil {
		err = o.makeNamesDurable()
	}
	if err == nil {
		err = removeLeftovers(o)
	}
	if err != nil {
		return nil, diagnose(o.Path, err)
	}
	return &Replacement{o: o, temp: temp}, nil
}

// restoreInfix is in the name of a Replacement's file, behind that of the room's file.
const restoreInfix = ".restore-"

// removeLeftovers removes what crashes have left of earlier Replacements.
func removeLeftovers(o Options) error {
	dir, prefix := filepath.Dir(o.Path), filepath.Base(o.Path)+restoreInfix
	names, err := o.FS.Names(dir)
	for _, name := range names {
		if err == nil && strings.HasPrefix(name, prefix) {
			err = removeIfThere(o.FS, filepath.Join(dir, name))
		}
	}
	return err
}

// uniqueName appends to a name what makes it nobody else's: 16 hex digits.
func uniqueName(random io.Reader, name string) (string, error) {
	digits, err := randomEpoch(random)
	if err != nil {
		return "", err
	}
	return name + digits[:16], nil
}

func (r *Replacement) copyFrom(source string) error {
	f := r.o.FS
	if err := mustBeRoom(f, source); err != nil {
		return err
	}
	release, err := holdStill(f, source)
	if err != nil {
		return err
	}
	err = copyFile(f, source, r.temp)
	if err == nil {
		err = copyWAL(f, source, r.temp, copyFile)
	}
	if err = errors.Join(err, release()); err != nil {
		return err
	}
	d, err := openBeside(f, r.temp)
	if err != nil {
		return err
	}
	err = d.checkSource()
	if err == nil {
		err = d.each("PRAGMA journal_mode = DELETE", func(*Rows) {}) // takes the WAL in
	}
	return errors.Join(err, d.Close())
}

// holdStill keeps others from writing to a database file until it is released. ErrInUse: somebody has
// it open, in this process or another.
func holdStill(f FS, path string) (release func() error, err error) {
	file, err := dbfile.Share(f.SQLite(), path)
	if err != nil {
		return nil, failed(err)
	}
	return file.Close, nil
}

// checkSource tells whether a copied file is a whole room.
func (d *DB) checkSource() error {
	var id, version int64
	err := d.each("SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version)",
		func(r *Rows) { id, version = r.Int(0), r.Int(1) })
	if err != nil {
		return err
	}
	if err := checkVersion(uint32(id), uint32(version)); err != nil {
		return err
	}
	if err := d.check("PRAGMA integrity_check(1)"); err != nil {
		return err
	}
	meta := map[string]Value{}
	if err := d.each("SELECT name, value FROM _den_meta", func(r *Rows) { meta[string(r.Bytes(0))] = r.Value(1) }); err != nil {
		return err
	}
	log, _ := meta["log"].(string)
	clean, _ := meta["clean"].(int64)
	if log != "" && clean <= 0 {
		return fmt.Errorf("%w: the file was in use; take a backup of the room instead of a copy of its file", ErrLogMissing)
	}
	if _, ok := meta["epoch"].(string); !ok {
		return fmt.Errorf("%w: no epoch in _den_meta", ErrCorrupt)
	}
	return nil
}

// Install puts the file in the room's place. Nobody may have the room open. What was
// there is kept beside it as <name>.db.before-restore-<time>, whose path is returned; ""
// where there was nothing. Of a room the newest ten of these are kept; SweepReplaced removes the old ones. After an error the room is as it was, unless the error says that the new
// file is in place: then the disk failed at one of the last steps, and the next Open makes durable whichever of the two
// files it finds.
func (r *Replacement) Install() (kept string, err error) {
	kept, err = r.install()
	if err != nil {
		return "", fmt.Errorf("replace %s: %w", r.o.Path, diagnose(r.o.Path, err))
	}
	return kept, nil
}

// InstallNew is Install where there must not be a room yet (ErrExists).
func (r *Replacement) InstallNew() error {
	there, err := Exists(r.o)
	if err != nil {
		return err
	}
	if there {
		return fmt.Errorf("%w: %s", ErrExists, r.o.Path)
	}
	r.fresh = true
	_, err = r.Install()
	return err
}

func (r *Replacement) install() (kept string, err error) {
	o := r.o
	become := identity{namespace: o.Namespace, room: o.Room, at: o.Now().UnixMilli()}
	if err := become.newEpoch(o.Random); err != nil {
		return "", err
	}
	if become.above, err = r.above(); err != nil {
		return "", err
	}
	mode := walMode
	if bug.On("rollback-mode") {
		mode = rollbackMode
	}
	become.carried = r.carried
	if err := become.settle(o.FS, r.temp, mode); err != nil {
		return "", err
	}
	old, err := exists(o.FS, o.Path)
	if err == nil && old {
		if kept, err = r.keepOld(become.at); err == nil {
			err = o.syncDir() // what is removed next is kept for good
		}
	}
	if err == nil {
		err = noteSeq(o, become.seq)
	}
	switch {
	case err != nil:
	case old:
		err = r.takeOver()
	default:
		err = r.takePlace()
	}
	if err != nil {
		return "", err
	}
	r.letGo(kept)
	return kept, nil
}

// takeOver puts the new file in the old one's place. The rename to NAME.whole decides: with the mark beside it the next
// Open goes on from there, whatever fails later (see suspect.go). Nothing of the old room is removed before it. The old
// file may need its WAL, or a NAME.whole of its own, where the disk has failed under it.
func (r *Replacement) takeOver() error {
	o := r.o
	marked, err := exists(o.FS, o.Path+suspectSuffix)
	if err == nil && !marked {
		err = o.accuse()
	}
	if err == nil {
		err = o.FS.Rename(r.temp, o.Path+wholeSuffix)
	}
	if err != nil {
		return err
	}
	if err := o.syncDir(); err != nil {
		return inPlace(err)
	}
	if err := writeAgain(o); err != nil {
		return fmt.Errorf("%w: the new file is in place, and the next open goes on with it: %w", ErrIO, err)
	}
	return nil
}

// takePlace gives the new file the name that no file has. What is beside the name belongs to a file that somebody has
// removed, and must not be played into the new one, nor take its place.
func (r *Replacement) takePlace() error {
	o := r.o
	if err := removeIfThere(o.FS, o.Path+wholeSuffix); err != nil {
		return err
	}
	if err := o.removeJournals(); err != nil {
		return err
	}
	if err := o.FS.Rename(r.temp, o.Path); err != nil {
		return err
	}
	if err := o.syncDir(); err != nil {
		return inPlace(err)
	}
	_ = o.dropRewrite() // what stays of it has the new file written again, once
	return nil
}

func inPlace(err error) error {
	return fmt.Errorf("%w: the new file is in place, but a power cut may bring the old one back; restore again: %w", ErrIO, err)
}

// letGo tells the commit log that nobody will ask for what an old file lacked that could
// not be opened. Of one that could it keeps nothing any more. What was moved out of the log goes to the kept file.
func (r *Replacement) letGo(kept string) {
	o := r.o
	if log, ok := o.Log.(forgetter); ok {
		log.Forget(o.Namespace, o.Room)
	}
	if kept == "" || o.FS.Rename(o.Path+asideSuffix, kept+asideSuffix) != nil {
		o.FS.Remove(o.Path + asideSuffix) // one that stays is of an epoch that is over
	}
	_ = dropReplaced(o) // those that stay go with the next restore, or with SweepReplaced
}

// above gives a seq that is not below any that the room has answered with.
func (r *Replacement) above() (Seq, error) {
	var known Seq
	there, err := Exists(r.o)
	switch {
	case errors.Is(err, ErrLogMissing), errors.Is(err, ErrLogMismatch): // that may be why there is a restore
	case err != nil:
		return 0, err
	case there:
		seq, readable, err := r.retire()
		if readable || err != nil {
			return seq, err
		}
		known = seq
	case r.fresh:
		return notedSeq(r.o)
	}
	backup, err := r.backupSeq()
	if err != nil {
		return 0, err
	}
	return aboveAll(r.o, max(known, backup))
}

// retire brings the old file to where it is whole without its WAL and the commit log, and
// gives the seq that it had. It is not readable where that may be why there is a restore.
func (r *Replacement) retire() (seq Seq, readable bool, err error) {
	d, err := Open(r.o)
	switch {
	case err != nil && !refusal(err): // it is not that it cannot be read
		return 0, false, err
	case err != nil:
		return 0, false, nil
	}
	seq = d.Seq()
	r.readCarried(d)
	if err = d.Close(); errors.Is(err, ErrCorrupt) {
		return seq, false, nil
	}
	return seq, true, err
}

// backupSeq is the highest seq in the file that is to take the room's place.
func (r *Replacement) backupSeq() (seq Seq, err error) {
	d, err := openBeside(r.o.FS, r.temp)
	if err != nil {
		return 0, err
	}
	err = d.each("SELECT coalesce(max(last), 0) FROM _den_changes WHERE typeof(last) = 'integer'", func(rows *Rows) { seq = Seq(rows.Int(0)) })
	return seq, errors.Join(err, d.Close())
}

// Discard throws the replacement away, if it was not installed.
func (r *Replacement) Discard() error { return removeFiles(r.o.FS, r.temp) }

// keepOld keeps the file that is about to be replaced, and its WAL if there is one, under a name of
// its own, which it returns. Where the old file was being written again, what it has become is kept.
func (r *Replacement) keepOld(at int64) (kept string, err error) {
	f, path := r.o.FS, r.o.Path
	from, err := r.o.current()
	if err != nil {
		return "", err
	}
	name := path + replacedInfix + time.UnixMilli(at).UTC().Format(keptForm)
	kept = name
	for n := 2; ; n++ {
		if err = keepFile(f, from, kept); !errors.Is(err, fs.ErrExist) {
			break
		}
		kept = fmt.Sprintf("%s-%d", name, n)
	}
	if err != nil {
		return "", err
	}
	if from == path {
		err = copyWAL(f, path, kept, keepFile)
	}
	if err != nil {
		return "", err
	}
	return kept, nil
}

// copyWAL has a file's WAL copied, if there is one and something is in it. One that cannot be looked at is not taken for none.
func copyWAL(f FS, from, to string, copy func(f FS, from, to string) error) error {
	size, err := f.Size(from + "-wal")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && size > 0:
		err = copy(f, from+"-wal", to+"-wal")
	}
	return err
}

// keepFile gives a file a second name, so that even one that cannot be read is kept. Where the file system has no
// links it is copied. The name must be free (fs.ErrExist).
func keepFile(f FS, path, kept string) error {
	err := f.Link(path, kept)
	if errors.Is(err, errors.ErrUnsupported) {
		err = copyFile(f, path, kept)
	}
	return err
}

// copyFile copies a file into a new one (fs.ErrExist), and syncs that.
func copyFile(f FS, from, to string) (err error) {
	size, err := f.Size(from)
	if err != nil {
		return err
	}
	source, err := f.Open(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	dest, err := f.Open(to, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, dest.Close()); err != nil {
			f.Remove(to)
		}
	}()
	if _, err := io.Copy(&sequential{file: dest}, io.NewSectionReader(source, 0, size)); err != nil {
		return err
	}
	return dest.Sync()
}

// sequential writes a file from its start to its end.
type sequential struct {
	file vfs.File
	at   int64
}

func (s *sequential) Write(p []byte) (int, error) {
	n, err := s.file.WriteAt(p, s.at)
	s.at += int64(n)
	return n, err
}
