package storage

// Backups and restores are package archive's, which imports this one. What they do to a room whose disk fails is tried here, with all
// else that is done with a room: archive_link_test.go, of package storage_test, has set archived.
var archived struct {
	begin   func(d *DB, path string) (backup, error)
	write   func(d *DB, path string) error
	writeAt func(d *DB, path string, p Point) error
	restore func(o Options, source string) (replacement, error)
	load    func(o Options, load func(*Loader) error) (replacement, error)
}

// A backup is an archive.Backup.
type backup interface {
	Step(pages int) (done bool, err error)
	Left() (left, of int)
	Finish() error
	Close() error
}

// A replacement is an archive.Replacement.
type replacement interface {
	Carry(table string)
	Install() (kept string, err error)
	InstallNew() error
	Discard() error
}

// SetArchive is for archive_link_test.go.
func SetArchive[B backup, R replacement](begin func(*DB, string) (B, error), write func(*DB, string) error, writeAt func(*DB, string, Point) error,
	restore func(Options, string) (R, error), load func(Options, func(*Loader) error) (R, error)) {
	archived.begin = func(d *DB, path string) (backup, error) { return begin(d, path) }
	archived.write, archived.writeAt = write, writeAt
	archived.restore = func(o Options, source string) (replacement, error) { return restore(o, source) }
	archived.load = func(o Options, l func(*Loader) error) (replacement, error) { return load(o, l) }
}
