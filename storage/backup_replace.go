package storage

// Putting another file in a room's place: a backup that is restored, or a file that an
// import has made. It is built, checked and synced beside the place while the room goes
// on, and then takes the place by one rename, when nobody has the room open: a crash
// leaves the old room or the new one.

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/roomfile"
)

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
	temp, err := roomfile.Unique(o.Random, o.Path+roomfile.RestoreInfix)
	if err == nil {
		err = o.file().MakeNamesDurable()
	}
	if err == nil {
		err = o.file().RemoveRestores()
	}
	if err != nil {
		return nil, diagnose(o.Path, err)
	}
	return &Replacement{o: o, temp: temp}, nil
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
	err = roomfile.Copy(f, source, r.temp)
	if err == nil {
		err = roomfile.CopyWAL(f, source, r.temp, roomfile.Copy)
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
	old, err := roomfile.Exists(o.FS, o.Path)
	if err == nil && old {
		if kept, err = o.file().KeepReplaced(become.at); err == nil {
			err = o.file().SyncDir() // what is removed next is kept for good
		}
	}
	if err == nil {
		err = o.file().NoteSeq(uint64(become.seq))
	}
	switch {
	case err != nil:
	case old:
		err = o.file().Replace(r.temp)
	default:
		err = o.file().PutNew(r.temp)
	}
	if err != nil {
		return "", err
	}
	r.letGo(kept)
	return kept, nil
}

// letGo tells the commit log that nobody will ask for what an old file lacked that could
// not be opened. Of one that could it keeps nothing any more. What was moved out of the log goes to the kept file.
func (r *Replacement) letGo(kept string) {
	o := r.o
	if log, ok := o.Log.(forgetter); ok {
		log.Forget(o.Namespace, o.Room)
	}
	if kept == "" || o.FS.Rename(o.Path+roomfile.EntriesSuffix, kept+roomfile.EntriesSuffix) != nil {
		o.FS.Remove(o.Path + roomfile.EntriesSuffix) // one that stays is of an epoch that is over
	}
	_ = o.file().DropReplaced() // those that stay go with the next restore, or with SweepReplaced
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
		noted, err := r.o.file().NotedSeq()
		return Seq(noted), err
	}
	backup, err := r.backupSeq()
	if err != nil {
		return 0, err
	}
	above, err := r.o.file().SeqAbove(uint64(max(known, backup)))
	return Seq(above), err
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
func (r *Replacement) Discard() error { return roomfile.RemoveDatabase(r.o.FS, r.temp) }
