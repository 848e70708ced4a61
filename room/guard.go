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
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
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

// report notes that a room cannot be used, and tells the operator, unless it has the same fault as
// when it was last reported. event is the log's message.
func (h *Host) report(key Key, event string, err error) {
	h.tell(h.failures.note(key, err, h.opts.Clock.Now()), key, event, err)
}

// complainEvery is how often the operator is told of a fault that a room in use meets again and again.
const complainEvery = time.Hour

// complain tells the operator of a fault of the storage that a room has met which could be opened, and may
// be again.
func (h *Host) complain(key Key, event string, err error) {
	h.tell(h.failures.complain(key, err, h.opts.Clock.Now()), key, event, err)
}

// tell writes a line on a room, for the operator if it is news.
func (h *Host) tell(news bool, key Key, event string, err error) {
	args := []any{"namespace", key.Namespace, "room", key.Room, "err", err}
	if !news {
		h.opts.Logger.Debug(event, args...)
		return
	}
	if hint := h.hint(key, err); hint != "" {
		args = append(args, "hint", hint)
	}
	h.opts.Logger.Error(event, append(args, stackOf(err)...)...)
}

// hints say what an operator can do, by the first error that fits. ROOM and DIR are put in.
var hints = []struct {
	of   error
	hint string
}{
	{storage.ErrNewer, "run the newer Den"},
	{storage.ErrWrongRoom, "files were swapped or renamed: put them back; a room is copied under another name by den backup and den restore"},
	{storage.ErrInUse, "end the other program that has the file open"},
	{storage.ErrLogIncomplete, "put the file of the log back, or: den restore DIR ROOM BACKUP; den log DIR -abandon gives up what is missing, for all rooms, while no server runs"},
	{storage.ErrLogMissing, "put the right _log back, or: den restore DIR ROOM BACKUP"},
	{storage.ErrLogMismatch, "den restore DIR ROOM BACKUP; den verify DIR ROOM tells more, while no server runs"},
	{storage.ErrCorrupt, "den restore DIR ROOM BACKUP, or den restore DIR -at TIME ROOM if the file can still be opened; den verify DIR ROOM tells more, while no server runs"},
	{storage.ErrNotDatabase, "den restore DIR ROOM BACKUP"},
	{storage.ErrReadOnly, "make the file and its directory writable for Den"},
	{storage.ErrIO, "look at the disk; the room is tried again when somebody calls for it"},
	{storage.ErrFull, "make room on the disk; the room goes on by itself"},
	{storage.ErrRoomFull, "delete what is not needed, or raise Options.MaxRoomBytes"},
}

// hint is what an operator can do about a room's fault; "" where the error says it all.
func (h *Host) hint(key Key, err error) string {
	text := ""
	if stackOf(err) != nil {
		text = "den verify DIR ROOM, while no server runs, tells whether the file is damaged; report the stack"
	}
	for _, known := range hints {
		if errors.Is(err, known.of) {
			text = known.hint
			break
		}
	}
	name := key.Namespace + "/" + url.PathEscape(key.Room)
	return strings.NewReplacer("ROOM", name, "DIR", "-data "+h.opts.Dir).Replace(text)
}

// guard is protect for work on a room's file beside the room's turns. A panic is reported too.
func (h *Host) guard(key Key, f func() error) error {
	err := protect(f)
	if stackOf(err) != nil {
		h.report(key, "work on a room's file panicked", err)
	}
	return err
}

// afterFunc is Clock.AfterFunc for work of the host's own. A panic of f ends that call of f.
func (h *Host) afterFunc(d time.Duration, job string, f func()) Timer {
	return h.opts.Clock.AfterFunc(d, func() { h.contain(job, f) })
}

// linkPanicked is told of a connection's link that panicked while it was sent presence.
func (h *Host) linkPanicked(key hibernate.Key, c *hibernate.Connection, value any, stack []byte) {
	h.courier(Key(key)).panicked(c, value, stack)
}

// contain runs work of the host's own that is of no one room. A panic is logged, but not again and
// again the same one of the same job.
func (h *Host) contain(job string, f func()) {
	err := protect(func() error { f(); return nil })
	if err == nil {
		return
	}
	if last, told := h.panics.Swap(job, err.Error()); !told || last != err.Error() {
		h.opts.Logger.Error("a job of the host panicked", append([]any{"job", job, "err", err}, stackOf(err)...)...)
	}
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

// complain tells whether a fault is news: another one than the room's last, or that long ago.
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

// note keeps what came of a start, and tells whether it is news: a failure for another reason
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

// Failures are the rooms that did not start when they were last called for, with the reason, the
// oldest first; the newest 1000 of them. A room without a life counts too in which the host's own
// work has met a fault: what a crash has left could not be put into its file, or its alarms could not be read. A room
// that starts is no longer one of them.
func (h *Host) Failures() []Failure {
	h.failures.mu.Lock()
	defer h.failures.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.failures.rooms), compareFailures)
}
