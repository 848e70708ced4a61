package room

// The files that restores have replaced go after a while: Options.KeepReplaced. There are few of them among
// the files of all rooms, so it is looked for them once a day.

import (
	"time"

	"github.com/denrooms/den/storage/roomfile"
)

const (
	replacedFirst = time.Hour      // after the host was opened
	replacedEvery = 24 * time.Hour // and then
)

// sweepReplacedLater looks for old ones after a while, and then again and again.
func (h *Host) sweepReplacedLater(after time.Duration) {
	if h.opts.KeepReplaced < 0 {
		return
	}
	h.afterFunc(after, "removing old files that restores have replaced", func() {
		if h.stopping.Load() {
			return
		}
		h.sweepReplaced()
		h.sweepReplacedLater(replacedEvery)
	})
}

func (h *Host) sweepReplaced() {
	for _, namespace := range h.Namespaces() {
		removed, err := roomfile.SweepReplaced(h.opts.FS, h.opts.Dir, namespace, h.opts.Clock.Now().Add(-h.opts.KeepReplaced))
		if err != nil {
			h.opts.Logger.Warn("old files that restores have replaced were not all removed", "namespace", namespace, "err", err)
		}
		if removed > 0 {
			h.opts.Logger.Info("old files that restores have replaced were removed", "namespace", namespace, "files", removed)
		}
	}
}
