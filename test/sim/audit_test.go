package sim

// Power cuts have many outcomes, and the run goes on with one. Of the others some are looked at, too: the log and the
// rooms' files must open, and hold what was acknowledged and shown until then.

import (
	"context"
	"fmt"
	"slices"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/faultdisk"
)

// audits is how many other outcomes of a cut are looked at.
const audits = 3

// audit looks at other outcomes of the power cut that has just been.
func (w *world) audit() {
	for i := range uint64(audits) {
		disk := w.disk.Before(w.seed<<16 + uint64(w.stats.Cuts)<<8 + i)
		if disk == nil || w.failure != "" {
			return
		}
		disk.Heal()
		disk.Crash()
		if err := disk.Restart(); err != nil {
			w.failf("%v", err)
			return
		}
		w.stats.Audits++
		w.where = fmt.Sprintf("after outcome %d of the cut: ", i+1)
		w.examine(disk)
		w.where = ""
	}
}

// examine opens the log and all rooms that are on a disk.
func (w *world) examine(disk *faultdisk.Disk) {
	vfs := fmt.Sprintf("audit-%p", disk)
	unregister, err := disk.Register(vfs)
	if err != nil {
		w.failf("%v", err)
		return
	}
	defer func() {
		if err := unregister(); err != nil {
			w.failf("%v", err)
		}
	}()
	fsys := disk.FS(vfs)
	w.verify(disk, fsys)
	log, err := w.openLog(fsys)
	if err != nil {
		w.failf("the commit log: %v", err)
		return
	}
	defer log.Close()
	for _, name := range w.rooms {
		if w.damaged[name] {
			continue
		}
		t := &truth{}
		there, err := w.exists(fsys, log, name)
		if err == nil && there {
			t, err = w.read(fsys, log, name)
		}
		if err != nil {
			w.failf("%s cannot be read: %v", name, err)
			return
		}
		times := make(map[string]int)
		for _, by := range t.by {
			times[by]++
		}
		for _, c := range w.clients {
			if c.room == name {
				c.judgeShown(t)
				c.judgeActions(t, times)
			}
		}
	}
}

// removed reports whether a room has no file because an operator has deleted it. What the log still has of it is a problem then.
func (w *world) removed(disk *faultdisk.Disk, name string) bool {
	path, err := w.path(name)
	if err != nil {
		return false
	}
	_, err = disk.Size(path)
	return err != nil && slices.ContainsFunc(w.rewinds[name], func(r *rewind) bool { return r.deleted != nil })
}

// verify has Den check the data directory. There must be no problem but of what was damaged, and nothing must be changed.
func (w *world) verify(disk *faultdisk.Disk, fsys storage.FS) {
	before := disk.Stats().Changes
	told := make(map[string]bool)
	_, err := room.Verify(context.Background(), room.VerifyOptions{Dir: w.options.Dir, FS: fsys, Namespaces: []string{namespace}, Report: func(f room.Finding) {
		if f.Severity != room.Problem {
			return
		}
		told[f.Room] = true
		switch {
		case w.logHarmed && f.Check == "log": // whosever it says that it was
		case f.Namespace == namespace && w.damaged[f.Room], f.Namespace != namespace && (w.unrung || w.logHarmed):
		case f.Namespace == namespace && f.Check == "open" && w.removed(disk, f.Room):
		default:
			w.failf("verify: %v", f)
		}
	}})
	if err != nil {
		w.failf("verify: %v", err)
	}
	if after := disk.Stats().Changes; after != before {
		w.failf("verify has changed the disk %d times", after-before)
	}
	for _, name := range w.rooms {
		if w.wrecked(disk, name) && !told[name] {
			w.failf("verify has found nothing wrong with %s, the file of which is wrecked", name)
		}
	}
}

func (w *world) exists(fsys storage.FS, log storage.Log, name string) (bool, error) {
	o, err := w.file(fsys, log, name)
	if err != nil {
		return false, err
	}
	return storage.Exists(o)
}
