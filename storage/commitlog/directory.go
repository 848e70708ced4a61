package commitlog

// The directory of the log, and what is done with files as a whole.

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/vfs"
)

// directory is the directory of a log. It has CURRENT and the segments.
type directory struct {
	fs     vfs.FS
	path   string
	logger *slog.Logger
	syncs  atomic.Uint64 // of files, and of the directory itself
}

func (d *directory) file(name string) string { return filepath.Join(d.path, name) }

func (d *directory) segment(number uint64) string { return d.file(segment.Name(number)) }

// list returns the names of all files, and the numbers of the segments among them.
func (d *directory) list() (names []string, numbers []uint64, err error) {
	names, err = d.fs.Names(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, failure("listing the directory", err)
	}
	for _, name := range names {
		if n, ok := segment.ParseName(name); ok {
			numbers = append(numbers, n)
		}
	}
	return names, numbers, nil
}

func (d *directory) open(number uint64, flag int) (vfs.File, error) {
	f, err := d.fs.Open(d.segment(number), flag)
	if err != nil {
		return nil, failure("opening "+segment.Name(number), err)
	}
	return f, nil
}

func (d *directory) size(number uint64) (int64, error) {
	size, err := d.fs.Size(d.segment(number))
	if err != nil {
		return 0, failure("looking for "+segment.Name(number), err)
	}
	return size, nil
}

// sync makes a file's content durable. After an error the content is unknown, so the error never matches a full disk.
func (d *directory) sync(f vfs.File) error {
	d.syncs.Add(1)
	return segment.NotFull(f.Sync())
}

// syncNames makes the names of the files durable. Its errors are like those of sync.
func (d *directory) syncNames() error {
	d.syncs.Add(1)
	return segment.NotFull(d.fs.SyncDir(d.path))
}

// replace writes a file, and puts it in the place of the one that has its name. After an error that file, or the new one, is there.
func (d *directory) replace(name string, write func(vfs.File) error) error {
	temp := name + ".tmp"
	if err := d.remove(temp); err != nil { // a failed sync may have left it
		return failure("removing "+temp, err)
	}
	f, err := d.fs.Open(d.file(temp), os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return failure("creating "+temp, err)
	}
	if err = write(f); err == nil {
		err = d.sync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return failure("writing "+temp, err)
	}
	if err := d.fs.Rename(d.file(temp), d.file(name)); err != nil {
		return failure("renaming "+temp, err)
	}
	if err := d.syncNames(); err != nil {
		return failure("syncing the directory", err)
	}
	return nil
}

// remove removes a file, if there is one of this name.
func (d *directory) remove(name string) error {
	if err := d.fs.Remove(d.file(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *directory) logFlip(number uint64, at int64) {
	d.logger.Warn("commit log: a bit has flipped, and is repaired when it is read", "file", segment.Name(number), "offset", at)
}

func (d *directory) logDamage(number uint64, s *segment.Scan) {
	name := segment.Name(number)
	for _, at := range s.FlippedBits() {
		d.logFlip(number, at)
	}
	for _, at := range s.Damaged {
		d.logger.Error("commit log: an entry is damaged, and its room will be refused if it needs it", "file", name, "offset", at)
	}
	for _, h := range s.Holes {
		d.logger.Error("commit log: entries of unknown rooms are damaged, and rooms that may need them will be refused",
			"file", name, "offset", h.From, "to", h.To)
	}
}
