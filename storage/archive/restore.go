package archive

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// A Replacement is a file that is ready to take a room's place. One goroutine may use it at a time. A room has one at a
// time: preparing another removes the file of the first, and its Install then fails.
type Replacement struct {
	o     storage.Options
	temp  string
	fresh bool // there was no such room

	carry   []string // names of the tables to keep; see Carry
	carried []table
}

// PrepareRestore makes a replacement for the room of o from a backup, or from any complete file of a room and the WAL that may be
// beside it. The source is only read, and must not be in use. The replacement has the namespace and the room of o, and a new epoch.
//
// Errors: storage.ErrNotDatabase, ErrNewer and ErrCorrupt if the source is refused; ErrLogMissing if its last transactions
// are only in a commit log; ErrFull, ErrIO.
func PrepareRestore(o storage.Options, source string) (*Replacement, error) {
	r, err := newReplacement(o)
	if err != nil {
		return nil, err
	}
	if err := r.copyFrom(source); err != nil {
		r.Discard()
		return nil, fmt.Errorf("restore from %s: %w", source, roomfile.Diagnose(source, err))
	}
	return r, nil
}

// PrepareImport makes a replacement for the room of o: a new room with the content that load puts into it. If load returns
// an error, there is no replacement. Package dump reads an export this way.
//
// Nothing is visible before Install. Errors: those of load and of the Loader; storage.ErrConstraint if a foreign key has no
// parent row, or a row breaks another rule; ErrFull, ErrIO.
func PrepareImport(o storage.Options, load func(*storage.Loader) error) (*Replacement, error) {
	r, err := newReplacement(o)
	if err != nil {
		return nil, err
	}
	if err := storage.Build(r.o, r.temp, load); err != nil {
		r.Discard()
		return nil, fmt.Errorf("import: %w", roomfile.Diagnose(r.o.Path, err))
	}
	return r, nil
}

func newReplacement(o storage.Options) (*Replacement, error) {
	o, err := o.WithDefaults()
	if err != nil {
		return nil, err
	}
	temp, err := roomfile.Unique(o.Random, o.Path+roomfile.RestoreInfix)
	if err == nil {
		err = o.File().MakeNamesDurable()
	}
	if err == nil {
		err = o.File().RemoveRestores()
	}
	if err != nil {
		return nil, roomfile.Diagnose(o.Path, err)
	}
	return &Replacement{o: o, temp: temp}, nil
}

func (r *Replacement) copyFrom(source string) error {
	f := r.o.FS
	err := storage.CheckHeader(f, source)
	changed := errors.Is(err, roomfile.ErrOldChecksums) // by sqlite3, say
	if err != nil && !changed {
		return err
	}
	held, err := dbfile.Share(f.SQLite(), source) // so that nobody writes to it
	if err != nil {
		return roomfile.Failed(err)
	}
	err = roomfile.Copy(f, source, r.temp)
	if err == nil {
		err = roomfile.CopyWAL(f, source, r.temp, roomfile.Copy)
	}
	if err = errors.Join(err, held.Close()); err == nil && changed {
		err = roomfile.RenewChecksums(f, r.temp)
	}
	if err != nil {
		return err
	}
	c, err := roomfile.Open(f, r.temp)
	if err != nil {
		return err
	}
	plain, err := checkSource(c)
	if err == nil {
		err = c.Exec("PRAGMA journal_mode = DELETE") // moves the WAL into the file
	}
	if err = errors.Join(err, c.Close()); err == nil && plain {
		_ = roomfile.AddChecksums(f, r.temp) // without them it is as good as it was
	}
	return err
}

// checkSource returns an error unless a copied file is a complete room. It also reports whether the file has no checksums.
func checkSource(c roomfile.Conn) (plain bool, err error) {
	var id, version int64
	err = c.Each("SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version)",
		func(r *sqlite.Row) { id, version = r.Int(0), r.Int(1) })
	if err != nil {
		return false, err
	}
	if err := roomfile.CheckVersion(uint32(id), uint32(version)); err != nil {
		return false, err
	}
	if err := c.Check("PRAGMA integrity_check(1)"); err != nil {
		return false, err
	}
	meta := map[string]sqlite.Value{}
	if err := c.Each("SELECT name, value FROM _den_meta", func(r *sqlite.Row) { meta[string(r.Bytes(0))] = r.Value(1) }); err != nil {
		return false, err
	}
	log, _ := meta["log"].(string)
	clean, _ := meta["clean"].(int64)
	if log != "" && clean <= 0 {
		return false, fmt.Errorf("%w: the file was in use; take a backup of the room instead of a copy of its file", storage.ErrLogMissing)
	}
	if _, ok := meta["epoch"].(string); !ok {
		return false, fmt.Errorf("%w: no epoch in _den_meta", storage.ErrCorrupt)
	}
	return version == roomfile.PlainVersion, nil
}

// Install puts the file in the room's place. Nobody may have the room open. The old file is kept beside it as
// <name>.db.before-restore-<time>; kept is its path, or "" if there was none. A room keeps the newest ten of these files, and
// roomfile.SweepReplaced removes old ones. After an error the room is as it was, unless the error says that the new file is in
// place: then the disk failed at one of the last steps, and the next Open makes durable whichever of the two files it finds.
func (r *Replacement) Install() (kept string, err error) {
	kept, err = r.install()
	if err != nil {
		return "", fmt.Errorf("replace %s: %w", r.o.Path, roomfile.Diagnose(r.o.Path, err))
	}
	return kept, nil
}

// InstallNew is Install for a room that must not exist yet (storage.ErrExists).
func (r *Replacement) InstallNew() error {
	there, err := storage.Exists(r.o)
	if err != nil {
		return err
	}
	if there {
		return fmt.Errorf("%w: %s", storage.ErrExists, r.o.Path)
	}
	r.fresh = true
	_, err = r.Install()
	return err
}

func (r *Replacement) install() (kept string, err error) {
	f := r.o.File()
	become := roomfile.Identity{Namespace: r.o.Namespace, Room: r.o.Room, At: r.o.Now().UnixMilli()}
	if become.Epoch, err = roomfile.NewEpoch(r.o.Random); err != nil {
		return "", err
	}
	if become.Above, err = r.above(); err != nil {
		return "", err
	}
	mode := roomfile.WALMode
	if bug.On("rollback-mode") {
		mode = roomfile.RollbackMode
	}
	become.More = r.writeCarried
	seq, err := become.Settle(r.o.FS, r.temp, mode)
	if err != nil {
		return "", err
	}
	old, err := roomfile.Exists(r.o.FS, r.o.Path)
	if err == nil && old {
		if kept, err = f.KeepReplaced(become.At); err == nil {
			err = f.SyncDir() // before anything is removed
		}
	}
	if err == nil {
		err = f.NoteSeq(seq)
	}
	switch {
	case err != nil:
	case old:
		err = f.Replace(r.temp)
	default:
		err = f.PutNew(r.temp)
	}
	if err != nil {
		return "", err
	}
	r.letGo(kept)
	return kept, nil
}

// letGo gives up what the commit log has for an old file that could not be opened. For one that could, the log has nothing
// left. Entries that were moved out of the log go to the kept file.
func (r *Replacement) letGo(kept string) {
	o := r.o
	if log, ok := o.Log.(interface{ Forget(namespace, room string) }); ok {
		log.Forget(o.Namespace, o.Room)
	}
	if kept == "" || o.FS.Rename(o.Path+roomfile.EntriesSuffix, kept+roomfile.EntriesSuffix) != nil {
		o.FS.Remove(o.Path + roomfile.EntriesSuffix) // if it stays, it is of a past epoch
	}
	_ = o.File().DropReplaced() // the next restore, or SweepReplaced, removes those that stay
}

// above returns a seq that is at least as high as any that the room has answered with.
func (r *Replacement) above() (uint64, error) {
	var known storage.Seq
	there, err := storage.Exists(r.o)
	switch {
	case errors.Is(err, storage.ErrLogMissing), errors.Is(err, storage.ErrLogMismatch): // that may be the reason for the restore
	case err != nil:
		return 0, err
	case there:
		seq, readable, err := r.retire()
		if readable || err != nil {
			return uint64(seq), err
		}
		known = seq
	case r.fresh:
		return r.o.File().NotedSeq()
	}
	backup, err := r.backupSeq()
	if err != nil {
		return 0, err
	}
	return r.o.File().SeqAbove(max(uint64(known), backup))
}

// retire opens and closes the old file, so that it is complete without its WAL and the commit log, and returns its seq.
// readable is false if the file is refused, which may be the reason for the restore.
func (r *Replacement) retire() (seq storage.Seq, readable bool, err error) {
	d, err := storage.Open(r.o)
	switch {
	case err != nil && !storage.Refused(err): // the file may be readable
		return 0, false, err
	case err != nil:
		return 0, false, nil
	}
	seq = d.Seq()
	r.readCarried(d)
	if err = d.Close(); errors.Is(err, storage.ErrCorrupt) {
		return seq, false, nil
	}
	return seq, true, err
}

// backupSeq returns the highest seq in the replacement.
func (r *Replacement) backupSeq() (seq uint64, err error) {
	c, err := roomfile.Open(r.o.FS, r.temp)
	if err != nil {
		return 0, err
	}
	err = c.Each("SELECT coalesce(max(last), 0) FROM _den_changes WHERE typeof(last) = 'integer'", func(row *sqlite.Row) { seq = uint64(row.Int(0)) })
	return seq, errors.Join(err, c.Close())
}

// Discard removes the replacement's file, if it was not installed.
func (r *Replacement) Discard() error { return roomfile.RemoveDatabase(r.o.FS, r.temp) }
