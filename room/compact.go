package room

// The files of rooms that have deleted much are written again while the rooms sleep, one at a time, so that
// the disk gets the space back. A room that is called for gets its file within milliseconds: the work on
// it ends, and begins again after the room has slept the next time.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/storage"
)

// Compacted is what Host.Compact did: Before and After are the file's sizes in bytes; where they are equal there was nothing to do.
type Compacted = storage.Compacted

const (
	// compactDelay is how long a room must have slept: it may be called for again at once.
	compactDelay = 20 * time.Second
	// compactPart says how much of the time files are written again, at the most: a fourth.
	compactPart = 4
	// sweepEvery is how often the files that were replaced are looked through, if there are any.
	sweepEvery = time.Hour
	// compactTries is how often Compact begins again because the room was called for.
	compactTries = 3
)

// ErrCalledFor: the room was called for while its file was written again, and has it now.
var ErrCalledFor = errors.New("room: the room is in use")

// compactor has the rooms whose files are to be written again. Its zero value is ready.
type compactor struct {
	work sync.Mutex // held while a file is written again

	mu      sync.Mutex
	waiting []Key                   // no room twice
	timed   bool                    // a timer is set, or a file is being written
	end     context.CancelCauseFunc // ends what is under way; nil: nothing is
	sweeps  bool                    // a timer is set for a sweep
	stopped bool
}

// stop ends what is under way, for good.
func (c *compactor) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped, c.waiting = true, nil
	if c.end != nil {
		c.end(errStopping)
	}
}

// sweeping tells whether a timer for a sweep is to be set, which is noted.
func (c *compactor) sweeping() (set bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set = !c.sweeps && !c.stopped
	c.sweeps = c.sweeps || set
	return set
}

// timerEnded notes that the timer for a sweep has ended, and reports whether to sweep.
func (c *compactor) timerEnded() (goOn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweeps = false
	return !c.stopped
}

// add has a room wait, and tells whether a timer is to be set.
func (c *compactor) add(key Key) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return false
	}
	for _, other := range c.waiting {
		if other == key {
			return false
		}
	}
	c.waiting = append(c.waiting, key)
	first = !c.timed
	c.timed = true
	return first
}

// next gives the room that has waited for the longest; none: the timer is over.
func (c *compactor) next() (key Key, some bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.timed = false
		return key, false
	}
	key, c.waiting = c.waiting[0], c.waiting[1:]
	return key, true
}

// compactLater has the file of a room that has gone to sleep written again.
func (h *Host) compactLater(key Key) {
	if h.compactor.add(key) {
		h.afterFunc(compactDelay, "compacting rooms", h.compactNext)
	}
}

// compactNext sees to one room, and then rests for three times as long as that took.
func (h *Host) compactNext() {
	key, some := h.compactor.next()
	if !some {
		return
	}
	began := h.opts.Clock.Now()
	h.contain("compacting a room", func() { h.compactDue(key) })
	rest := (compactPart - 1) * h.opts.Clock.Now().Sub(began)
	h.afterFunc(max(rest, time.Second), "compacting rooms", h.compactNext)
}

// compactDue is compactRoom for a room that is due, and says what came of it.
func (h *Host) compactDue(key Key) {
	began := h.opts.Clock.Now()
	done, err := h.compactRoom(context.Background(), key, storage.Slack.Due)
	switch {
	case errors.Is(err, errAwake), errors.Is(err, errStopping):
	case errors.Is(err, ErrCalledFor): // by whom looked into it; a room that is awake now comes again when it sleeps
		h.compactor.add(key)
	case err != nil:
		h.complain(key, "the file of a room that has deleted much could not be made smaller", err)
	case done.After < done.Before:
		h.opts.Logger.Info("a room's file was compacted", "namespace", key.Namespace, "room", key.Room,
			"before", done.Before, "after", done.After, "took", h.opts.Clock.Now().Sub(began))
	}
}

// errAwake: the room has a life, and with it its file.
var errAwake = fmt.Errorf("%w: it is awake", ErrCalledFor)

// compactRoom writes the file of a room again that has no life.
func (h *Host) compactRoom(ctx context.Context, key Key, worth func(storage.Slack) bool) (done Compacted, err error) {
	err = h.withoutLife(ctx, key, func(ctx context.Context, o storage.Options) (err error) {
		done, err = storage.Compact(ctx, o, worth)
		return err
	})
	h.sweepPast()
	return done, err
}

// withoutLife does something long to the file of a room that has no life: one room at a time. ctx ends
// with ErrCalledFor when somebody calls for the room.
func (h *Host) withoutLife(ctx context.Context, key Key, do func(context.Context, storage.Options) error) error {
	h.compactor.work.Lock()
	defer h.compactor.work.Unlock()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if !h.compactor.begin(end) {
		return errStopping
	}
	defer h.compactor.begin(nil)
	defer h.looks.beginLong(key, func() { end(ErrCalledFor) })()
	if h.actors.Has(key) {
		return errAwake
	}
	o, err := h.fileOptions(key)
	if err != nil {
		return err
	}
	return h.guard(key, func() error { return do(ctx, o) })
}

// begin notes how what is under way is ended, and tells whether it may begin.
func (c *compactor) begin(end context.CancelCauseFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = end
	return !c.stopped
}

// Compact writes a room's file again without the pages that became free, so that the disk gets them back.
// The room goes to sleep for it; whoever calls for it meanwhile gets it within milliseconds, and after the third time
// the error is ErrCalledFor. The host does the same by itself, within a minute, for a room that goes to sleep with more
// than half of its file and more than 1 MiB of it free. The room's seq, cursors and history stay as they are; the old file
// stays in the data directory as long as the history leads through it, Options.TimeTravel. There must be
// room on the disk for both. Errors: ErrNoRoom, ErrCalledFor, those of the disk.
func (h *Host) Compact(ctx context.Context, key Key) (Compacted, error) {
	return h.compactIf(ctx, key, nil)
}

// CompactDue is Compact for a room that the host would compact by itself. Of another the size is Before and After.
func (h *Host) CompactDue(ctx context.Context, key Key) (Compacted, error) {
	return h.compactIf(ctx, key, storage.Slack.Due)
}

func (h *Host) compactIf(ctx context.Context, key Key, worth func(storage.Slack) bool) (done Compacted, err error) {
	if err := h.exists(key); err != nil {
		return done, err
	}
	for range compactTries {
		if err = h.actors.Stop(ctx, key); err != nil {
			break
		}
		if h.hasNoFile(key) { // what it has is in the log
			return done, nil
		}
		if done, err = h.compactRoom(ctx, key, worth); !errors.Is(err, ErrCalledFor) {
			break
		}
	}
	if errors.Is(err, errStopping) {
		err = actor.ErrStopped
	}
	return done, operatorError(key, err)
}

// sweepPast removes the files through which no room's history leads any more, now and from time to time.
func (h *Host) sweepPast() {
	now := h.opts.Clock.Now()
	left, err := storage.SweepPast(h.opts.FS, filepath.Join(h.opts.Dir, pastDir), now.Add(-max(h.opts.TimeTravel, 0)), now)
	if err != nil {
		h.opts.Logger.Warn("old files of rooms were not removed", "dir", filepath.Join(h.opts.Dir, pastDir), "err", err)
	}
	if left > 0 && h.compactor.sweeping() {
		h.afterFunc(sweepEvery, "removing old files of rooms", func() {
			if h.compactor.timerEnded() {
				h.sweepPast()
			}
		})
	}
}
