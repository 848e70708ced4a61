package room

// What keeps a fault to the room that has it. A hook that panics is its turn's business; what the
// host does for rooms by itself (in a timer's goroutine, in that of another room, for an operator)
// runs under protect, so a panic there costs the one room that it was about. Whatever keeps a room
// from being used is told to the operator once, and stands in Failures until the room has started.

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
	text  string // what was panicked with: a program's own error or Stringer may not be asked again
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

// stackOf is the stack of the panic that an error is, as an attribute of a log line; none for
// other errors.
func stackOf(err error) []any {
	if caught, is := errors.AsType[*panicError](err); is {
		return []any{"stack", string(caught.stack)}
	}
	return nil
}

// maxFailures is how many rooms' failures a host remembers; the oldest go first.
const maxFailures = 1000

// A Failure says why a room cannot be used.
type Failure struct {
	Key Key
	Err error // for logs and operators, never for clients; a *MigrationError, or any other
	At  time.Time
}

// failures are those rooms whose last start has failed, or that the host's own work has met a fault in
// since. Its zero value is ready.
type failures struct {
	mu    sync.Mutex
	rooms map[Key]Failure
	told  map[Key]Failure // of rooms that could be opened: what the operator was told, and when
}

// complain reports whether a fault is news: another one than the room's last, or that long ago.
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

// sameFault compares what two errors say. One may say more: where a refused room's transactions were put is
// said once.
func sameFault(a, b error) bool {
	x, y := a.Error(), b.Error()
	return strings.HasPrefix(x, y) || strings.HasPrefix(y, x)
}

// note keeps what came of a start, and reports whether it is news: a failure for another reason
// than the one that the room had before, if any.
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

// complainEvery is how often the operator is told of a fault that a room in use meets again and again.
const complainEvery = time.Hour
