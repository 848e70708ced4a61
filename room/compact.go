package room

// While rooms sleep, the files of those that have deleted much are rewritten, one at a time, so that the disk gets
// the space back. A room that is called for gets its file within milliseconds: the rewriting ends, and begins again
// after the room has gone to sleep the next time.

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

// Compacted is the result of Host.Compact: the file's size in bytes Before and After. If they are equal, there was
// nothing to do.
type Compacted = storage.Compacted

const (
	// compactDelay is how long a room must have slept, because it may be called for again at once.
	compactDelay = 20 * time.Second
	// compactPart limits the time for rewriting files to one part in so many: a fourth.
	compactPart = 4
	// sweepEvery is how often the host looks through the files that were replaced, if there are any.
	sweepEvery = time.Hour
	// compactTries is how often Compact begins again because the room was called for.
	compactTries = 3
)

// A compactor rewrites the files of sleeping rooms. The zero value is ready to use.
type compactor struct {
	node *node

	work sync.Mutex // held while a file is being rewritten

	mu      sync.Mutex
	waiting []Key                   // no room is there twice
	timed   bool                    // a timer is set, or a file is being rewritten
	end     context.CancelCauseFunc // ends the work in progress; nil: there is none
	sweeps  bool                    // a timer is set for a sweep
	stopped bool
}

// stop ends the work in progress, and all later work.
func (c *compactor) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped, c.waiting = true, nil
	if c.end != nil {
		c.end(errStopping)
	}
}

// sweeping reports whether the caller has to set a timer for a sweep, and notes that it does.
func (c *compactor) sweeping() (set bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set = !c.sweeps && !c.stopped
	c.sweeps = c.sweeps || set
	return set
}

// timerEnded notes that the timer for a sweep has fired, and reports whether to sweep.
func (c *compactor) timerEnded() (goOn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweeps = false
	return !c.stopped
}

// add has a room wait, and reports whether the caller has to set a timer.
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

// next returns the room that has waited the longest. If there is none, no timer is set any more.
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

// later has the file of a room that has gone to sleep rewritten.
func (c *compactor) later(key Key) {
	if c.add(key) {
		c.node.afterFunc(compactDelay, "compacting rooms", c.runNext)
	}
}

// runNext handles one room, and then pauses for three times as long as that took.
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

// rewriteDue rewrites the file of a room that needs it, and logs the result.
func (c *compactor) rewriteDue(key Key) {
	began := c.node.now()
	done, err := c.rewrite(context.Background(), key, storage.Slack.Due)
	switch {
	case errors.Is(err, errAwake), errors.Is(err, errStopping):
	case errors.Is(err, ErrCalledFor): // somebody looked into it; a room that is awake now is added when it sleeps
		c.add(key)
	case err != nil:
		c.node.complain(key, "the file of a room that has deleted much could not be made smaller", err)
	case done.After < done.Before:
		c.node.opts.Logger.Info("a room's file was compacted", "namespace", key.Namespace, "room", key.Room,
			"before", done.Before, "after", done.After, "took", c.node.now().Sub(began))
	}
}

// rewrite rewrites the file of a room that has no life.
func (c *compactor) rewrite(ctx context.Context, key Key, worth func(storage.Slack) bool) (done Compacted, err error) {
	err = c.withoutLife(ctx, key, func(ctx context.Context, o storage.Options) (err error) {
		done, err = storage.Compact(ctx, o, worth)
		return err
	})
	c.sweepPast()
	return done, err
}

// withoutLife calls do, which may take long, for the file of a room that has no life. It does so for one room at a
// time. ctx ends with ErrCalledFor when somebody calls for the room.
func (c *compactor) withoutLife(ctx context.Context, key Key, do func(context.Context, storage.Options) error) error {
	c.work.Lock()
	defer c.work.Unlock()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if !c.begin(end) {
		return errStopping
	}
	defer c.begin(nil)
	defer c.node.fileUses.beginLong(key, func() { end(ErrCalledFor) })()
	if c.node.actors.Has(key) {
		return errAwake
	}
	o, err := c.node.fileOptions(key)
	if err != nil {
		return err
	}
	return c.node.guard(key, func() error { return do(ctx, o) })
}

// begin notes how to end the work in progress, and reports whether it may begin.
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
		if c.node.hasNoFile(key) { // everything is in the log
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

// sweepPast removes the files that no room's history needs any longer, and repeats that every sweepEvery while there
// are such files.
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

// The files that restores have replaced are removed after Options.KeepReplaced. They are few among the files of all
// rooms, so the host looks for them once a day.

const (
	replacedFirst = time.Hour      // after the host was opened
	replacedEvery = 24 * time.Hour // and then
)

// sweepReplacedLater removes old ones after a while, and then periodically.
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
