package room

// The files of rooms that have deleted much are written again while the rooms sleep, one at a time, so that
// the disk gets the space back. A room that is called for gets its file within milliseconds: the work on
// it ends, and begins again after the room has slept the next time.

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
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

// compactor has the rooms whose files are to be written again. Its zero value is ready.
type compactor struct {
	node *node

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

// sweeping reports whether a timer for a sweep is to be set, which is noted.
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

// add has a room wait, and reports whether a timer is to be set.
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

// later has the file of a room that has gone to sleep written again.
func (c *compactor) later(key Key) {
	if c.add(key) {
		c.node.afterFunc(compactDelay, "compacting rooms", c.runNext)
	}
}

// runNext sees to one room, and then rests for three times as long as that took.
func (c *compactor) runNext() {
	key, some := c.next()
	if !some {
		return
	}
	began := c.node.now()
	c.node.contain("compacting a room", func() { c.rewriteDue(key) })
	rest := (compactPart - 1) * c.node.now().Sub(began)
	c.node.afterFunc(max(rest, time.Second), "compacting rooms", c.runNext)
}

// rewriteDue is compactRoom for a room that is due, and says what came of it.
func (c *compactor) rewriteDue(key Key) {
	began := c.node.now()
	done, err := c.rewrite(context.Background(), key, storage.Slack.Due)
	switch {
	case errors.Is(err, errAwake), errors.Is(err, errStopping):
	case errors.Is(err, ErrCalledFor): // by whom looked into it; a room that is awake now comes again when it sleeps
		c.add(key)
	case err != nil:
		c.node.complain(key, "the file of a room that has deleted much could not be made smaller", err)
	case done.After < done.Before:
		c.node.opts.Logger.Info("a room's file was compacted", "namespace", key.Namespace, "room", key.Room,
			"before", done.Before, "after", done.After, "took", c.node.now().Sub(began))
	}
}

// rewrite writes the file of a room again that has no life.
func (c *compactor) rewrite(ctx context.Context, key Key, worth func(storage.Slack) bool) (done Compacted, err error) {
	err = c.withoutLife(ctx, key, func(ctx context.Context, o storage.Options) (err error) {
		done, err = storage.Compact(ctx, o, worth)
		return err
	})
	c.sweepPast()
	return done, err
}

// withoutLife does something long to the file of a room that has no life: one room at a time. ctx ends
// with ErrCalledFor when somebody calls for the room.
func (c *compactor) withoutLife(ctx context.Context, key Key, do func(context.Context, storage.Options) error) error {
	c.work.Lock()
	defer c.work.Unlock()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if !c.begin(end) {
		return errStopping
	}
	defer c.begin(nil)
	defer c.node.looks.beginLong(key, func() { end(ErrCalledFor) })()
	if c.node.actors.Has(key) {
		return errAwake
	}
	o, err := c.node.fileOptions(key)
	if err != nil {
		return err
	}
	return c.node.guard(key, func() error { return do(ctx, o) })
}

// begin notes how what is under way is ended, and reports whether it may begin.
func (c *compactor) begin(end context.CancelCauseFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = end
	return !c.stopped
}

func (c *compactor) compactIf(ctx context.Context, key Key, worth func(storage.Slack) bool) (done Compacted, err error) {
	if err := c.node.exists(key); err != nil {
		return done, err
	}
	for range compactTries {
		if err = c.node.actors.Stop(ctx, key); err != nil {
			break
		}
		if c.node.hasNoFile(key) { // what it has is in the log
			return done, nil
		}
		if done, err = c.rewrite(ctx, key, worth); !errors.Is(err, ErrCalledFor) {
			break
		}
	}
	if errors.Is(err, errStopping) {
		err = actor.ErrStopped
	}
	return done, operatorError(key, err)
}

// sweepPast removes the files that no room's history needs any longer. It repeats that every sweepEvery while such files exist.
func (c *compactor) sweepPast() {
	now := c.node.now()
	left, err := storage.SweepPast(c.node.opts.FS, filepath.Join(c.node.opts.Dir, pastDir), now.Add(-max(c.node.opts.TimeTravel, 0)), now)
	if err != nil {
		c.node.opts.Logger.Warn("old files of rooms were not removed", "dir", filepath.Join(c.node.opts.Dir, pastDir), "err", err)
	}
	if left > 0 && c.sweeping() {
		c.node.afterFunc(sweepEvery, "removing old files of rooms", func() {
			if c.timerEnded() {
				c.sweepPast()
			}
		})
	}
}

// The files that restores have replaced go after a while: Options.KeepReplaced. There are few of them among
// the files of all rooms, so the host looks for them once a day.

const (
	replacedFirst = time.Hour      // after the host was opened
	replacedEvery = 24 * time.Hour // and then
)

// sweepReplacedLater looks for old ones after a while, and then again and again.
func (c *compactor) sweepReplacedLater(after time.Duration) {
	if c.node.opts.KeepReplaced < 0 {
		return
	}
	c.node.afterFunc(after, "removing old files that restores have replaced", func() {
		if c.node.shutdown.stopping.Load() {
			return
		}
		c.sweepReplaced()
		c.sweepReplacedLater(replacedEvery)
	})
}

func (c *compactor) sweepReplaced() {
	for _, namespace := range c.node.namespaceNames() {
		removed, err := roomfile.SweepReplaced(c.node.opts.FS, c.node.opts.Dir, namespace, c.node.now().Add(-c.node.opts.KeepReplaced))
		if err != nil {
			c.node.opts.Logger.Warn("old files that restores have replaced were not all removed", "namespace", namespace, "err", err)
		}
		if removed > 0 {
			c.node.opts.Logger.Info("old files that restores have replaced were removed", "namespace", namespace, "files", removed)
		}
	}
}
