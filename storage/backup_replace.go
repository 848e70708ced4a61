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
	"time"

	"github.com/denrooms/den/storage/vfs"
)

// lostSeq is added to a room's seq where the file that it had cannot be read, so that
// clients which have seen its last commits do not take the new ones for older.
const lostSeq = 1 << 32

// keptForm is the time in the name under which a replaced file is kept, in UTC.
const keptForm = "20060102T150405.000Z"

// A Replacement is a file that is ready to take a room's place. It is used by one
// goroutine at a time.
type Replacement struct {
	o    Options
	temp string
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
	r := &Replacement{o: o, temp: o.Path + ".restore"}
	if err := o.FS.MakeDirs(filepath.Dir(o.Path)); err != nil {
		return nil, diagnose(o.Path, err)
	}
	if err := removeFiles(o.FS, r.temp); err != nil {
		return nil, diagnose(o.Path, err)
	}
	return r, nil
}

func (r *Replacement) copyFrom(source string) error {
	f := r.o.FS
	missing, err := inspect(f, source)
	if err == nil && missing {
		err = fmt.Errorf("%w: there is nothing in it", ErrNotDatabase)
	}
	if err != nil {
		return err
	}
	if err := copyFile(f, source, r.temp); err != nil {
		return err
	}
	if size, err := f.Size(source + "-wal"); err == nil && size > 0 {
		if err := copyFile(f, source+"-wal", r.temp+"-wal"); err != nil {
			return err
		}
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
	problem := ""
	err = d.each("PRAGMA quick_check(1)", func(r *Rows) { problem = string(r.Bytes(0)) })
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if problem != "ok" {
		return fmt.Errorf("%w: %s", ErrCorrupt, problem)
	}
	meta := map[string]Value{}
	if err := d.each("SELECT name, value FROM _den_meta", func(r *Rows) { meta[string(r.Bytes(0))] = r.Value(1) }); err != nil {
		return err
	}
	log, _ := meta["log"].(string)
	clean, _ := meta["clean"].(int64)
	if log != "" && clean == 0 {
		return fmt.Errorf("%w: the file was in use; take a backup of the room instead of a copy of its file", ErrLogMissing)
	}
	if _, ok := meta["epoch"].(string); !ok {
		return fmt.Errorf("%w: no epoch in _den_meta", ErrCorrupt)
	}
	return nil
}

// Install puts the file in the room's place. Nobody may have the room open. What was
// there is kept beside it as <name>.db.before-restore-<time>, whose path is returned; ""
// where there was nothing. On an error the room is as it was.
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
	_, err = r.Install()
	return err
}

func (r *Replacement) install() (kept string, err error) {
	o := r.o
	become := identity{namespace: o.Namespace, room: o.Room, at: o.Now().UnixMilli()}
	if err := become.newEpoch(o.Random); err != nil {
		return "", err
	}
	there, err := Exists(o)
	switch {
	case errors.Is(err, ErrLogMissing), errors.Is(err, ErrLogMismatch): // that may be why there is a restore
		become.above = r.unreadable()
	case err != nil:
		return "", err
	}
	if there {
		if become.above, err = r.retire(); err != nil {
			return "", err
		}
	}
	if err := become.settle(o.FS, r.temp); err != nil {
		return "", err
	}
	if _, err := o.FS.Size(o.Path); err == nil {
		kept = o.Path + ".before-restore-" + time.UnixMilli(become.at).UTC().Format(keptForm)
		if err := keepFile(o.FS, o.Path, kept); err != nil {
			return "", err
		}
	}
	// A WAL is here only where the old file could not be opened. It must not be played
	// into the new one.
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if err := o.FS.Remove(o.Path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if err := o.FS.SyncDir(filepath.Dir(o.Path)); err != nil {
		return "", err
	}
	if err := publish(o.FS, r.temp, o.Path); err != nil {
		return "", err
	}
	r.letGo()
	return kept, nil
}

// letGo tells the commit log that nobody will ask for what an old file lacked that could
// not be opened. Of one that could it keeps nothing any more.
func (r *Replacement) letGo() {
	if log, ok := r.o.Log.(interface{ Forget(namespace, room string) }); ok {
		log.Forget(r.o.Namespace, r.o.Room)
	}
}

// retire brings the old file to where it is whole without its WAL and the commit log, and
// gives the seq that it had.
func (r *Replacement) retire() (Seq, error) {
	d, err := Open(r.o)
	switch {
	case errors.Is(err, ErrInUse):
		return 0, err
	case err != nil: // it is beyond reading; it may be why there is a restore
		return r.unreadable(), nil
	}
	seq := d.Seq()
	return seq, d.Close()
}

// unreadable guesses a seq that is above all that the old file has given out.
func (r *Replacement) unreadable() Seq {
	d, err := openBeside(r.o.FS, r.temp)
	if err != nil {
		return lostSeq
	}
	defer d.Close()
	var seq int64
	if d.each("SELECT coalesce(max(last), 0) FROM _den_changes", func(rows *Rows) { seq = rows.Int(0) }) != nil {
		return lostSeq
	}
	return Seq(seq) + lostSeq
}

// Discard throws the replacement away, if it was not installed.
func (r *Replacement) Discard() error { return removeFiles(r.o.FS, r.temp) }

// keepFile copies what is about to be replaced, with a WAL if there is one.
func keepFile(f FS, path, kept string) error {
	if err := copyFile(f, path, kept); err != nil {
		return err
	}
	if size, err := f.Size(path + "-wal"); err == nil && size > 0 {
		if err := copyFile(f, path+"-wal", kept+"-wal"); err != nil {
			return err
		}
	}
	return f.SyncDir(filepath.Dir(kept))
}

// copyFile copies a file into a new one, and syncs that.
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
	dest, err := f.Open(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dest.Close()) }()
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
