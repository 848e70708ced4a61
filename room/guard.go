package room

// What confines a fault to the room that has it. A hook that panics is handled by its turn. What the host does for
// rooms by itself (in a timer's goroutine, in another room's, for an operator) runs under protect, so a panic there
// affects only the room concerned. Whatever keeps a room from being used is reported to the operator once, and is
// listed in Failures until the room has started.

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// A panicError is a panic that was caught.
type panicError struct {
	text  string // the value that was panicked with, as text: a program's own error or Stringer may not be called again
	stack []byte
}

func (p *panicError) Error() string { return "panic: " + p.text }

// protect turns a panic of f into an error.
func protect(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{text: fmt.Sprint(v), stack: debug.Stack()}
		}
	}()
	return f()
}

// stackOf returns the stack of a panic as attributes of a log line, and nil for other errors.
func stackOf(err error) []any {
	if caught, is := errors.AsType[*panicError](err); is {
		return []any{"stack", string(caught.stack)}
	}
	return nil
}

// maxFailures is how many rooms' failures a host remembers. Beyond that the oldest are forgotten.
const maxFailures = 1000

// A Failure says why a room cannot be used.
type Failure struct {
	Key Key
	Err error // for logs and operators, never for clients; a *MigrationError, or any other
	At  time.Time
}

// failures are the rooms whose last start failed, or whose file the host's own work has had a fault with since. The
// zero value is ready to use.
type failures struct {
	mu    sync.Mutex
	rooms map[Key]Failure
	told  map[Key]Failure // of rooms that could be opened: what the operator was last told
}

// complain reports whether a fault is news: different from the room's last one, or complainEvery later.
func (f *failures) complain(key Key, err error, at time.Time) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	last, known := f.told[key]
	if known && sameFault(last.Err, err) && at.Sub(last.At) < complainEvery {
		return false
	}
	if f.told == nil || len(f.told) >= maxFailures {
		f.told = make(map[Key]Failure)
	}
	f.told[key] = Failure{key, err, at}
	return true
}

// recovered notes that a room no longer fails.
func (f *failures) recovered(key Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.told, key)
}

// sameFault compares the texts of two errors. One may say more: where a refused room's transactions were put is said
// only once.
func sameFault(a, b error) bool {
	x, y := a.Error(), b.Error()
	return strings.HasPrefix(x, y) || strings.HasPrefix(y, x)
}

// note records the result of a start. It reports whether that is news: a failure for another reason than before.
func (f *failures) note(key Key, err error, at time.Time) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.rooms, key)
		return false
	}
	if f.rooms == nil {
		f.rooms = make(map[Key]Failure)
	}
	before, known := f.rooms[key]
	again := known && sameFault(before.Err, err)
	if again && len(before.Err.Error()) > len(err.Error()) {
		err = before.Err
	}
	f.rooms[key] = Failure{key, err, at}
	if len(f.rooms) > maxFailures {
		delete(f.rooms, slices.MinFunc(slices.Collect(maps.Values(f.rooms)), compareFailures).Key)
	}
	return !again
}

func compareFailures(a, b Failure) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Key.String(), b.Key.String()))
}

func (f *failures) of(key Key) (Failure, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	failure, there := f.rooms[key]
	return failure, there
}

// An AlarmFailure says why an alarm was given up.
type AlarmFailure struct {
	Key      Key
	Name     string    // the alarm's
	Due      time.Time // when the alarm was to run
	Attempts int       // how often it was tried
	Err      error     // of the last try; for logs and operators, never for clients
	At       time.Time
}

// alarmFailures are the newest failures of a host. The zero value is ready to use.
type alarmFailures struct {
	mu  sync.Mutex
	all []AlarmFailure // the oldest first
}

func (f *alarmFailures) note(failure AlarmFailure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, failure)
	if len(f.all) > maxFailures {
		f.all = slices.Delete(f.all, 0, len(f.all)-maxFailures)
	}
}

// complainEvery is how often the operator is told of a fault that a room in use meets repeatedly.
const complainEvery = time.Hour
