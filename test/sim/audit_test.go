package sim

// Power cuts have many outcomes, and the run goes on with one. Of the others some are looked at, too: the log and the
// rooms' files must open, and hold what was acknowledged and shown until then.

import (
	"fmt"

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

func (w *world) exists(fsys storage.FS, log storage.Log, name string) (bool, error) {
	o, err := w.file(fsys, log, name)
	if err != nil {
		return false, err
	}
	return storage.Exists(o)
}
