package room

// What the rooms of a host, its sessions and its own parts share.

import (
	"context"
	"errors"
	"hash/maphash"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/hibernate/alarm"
	"github.com/denrooms/den/room/internal/alarms"
	"github.com/denrooms/den/room/internal/awake"
	"github.com/denrooms/den/room/internal/recent"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/syncproto"
)

// A node is what a host's rooms, their sessions and the host's own parts share. Its methods are safe from any goroutine.
type node struct {
	// Immutable after the host is open.

	opts    Options
	process process
	limits  limits
	actors  *actor.System
	log     *storage.NodeLog // nil: each room's file syncs itself
	alarms  *alarm.Clock
	zones   alarms.Zones

	maxSnapshotRows int // a test lowers it before there are rooms

	conns    hibernate.Registry
	presence hibernate.Presence
	awake    awake.Set
	fileUses fileUses
	offline  offlineTasks
	shutdown shutdown

	pendingCloses pendingCloses
	graces        graces
	recent        recents
	reports       reports
	workLost      atomic.Uint64 // see WorkLost

	mu         sync.RWMutex
	namespaces map[string]*namespace // Register adds to it
}

// A process has what is particular to this run of the program.
type process struct {
	began  time.Time // see uptime
	seed   [32]byte
	run    int64        // its number, see roster.go
	hashes maphash.Seed // of the senders of plain requests
}

// limits are what all clients of a node share.
type limits struct {
	memory   *hibernate.Memory
	unqueued *hibernate.Memory // the part of memory for requests that have no place in a mailbox yet
	shares   *hibernate.Shares // nil with a clock other than the machine's
}

// A shutdown is the state of Shutdown.
type shutdown struct {
	stopping atomic.Bool
	ending   atomic.Pointer[context.Context] // of the Shutdown in work
}

// reports are what has been reported to the operator, so that one fault does not fill the log.
type reports struct {
	failures      failures
	alarmFailures alarmFailures
	panics        sync.Map // by job of the host, the message of its last panic

	// When the operator was last told, in Unix nanoseconds. 0: never.
	told struct {
		slow    atomic.Int64 // clients are read slowly
		refused atomic.Int64 // there is no memory
	}
}

// recents are what a node remembers for a while of its rooms' clients.
type recents struct {
	hangs        recent.Hangs
	losses       recent.Losses
	unsubscribed recent.Unsubscribed
	panics       recent.Panics
}

// now returns the time by the host's clock.
func (n *node) now() time.Time { return n.opts.Clock.Now() }

func (n *node) namespace(name string) *namespace {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.namespaces[name]
}

func (n *node) hasNamespace(name string) bool { return n.namespace(name) != nil }

// namespacesNow returns the registered namespaces. The caller holds no lock while it uses them.
func (n *node) namespacesNow() []*namespace {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.Collect(maps.Values(n.namespaces))
}

// check refuses keys that no room can have, before any room wakes.
func (n *node) check(key Key) error {
	if !n.hasNamespace(key.Namespace) {
		return &Error{Code: syncproto.CodeUnknownNamespace, Message: "There is no such namespace."}
	}
	if _, err := roomfile.Escape(key.Room); err != nil {
		return &Error{Code: syncproto.CodeBadRoomName, Message: "A room's name has 1 to 256 bytes of UTF-8.", cause: err}
	}
	return nil
}

// uptime returns how long the host has been open. A duration takes a third of the memory of a time, and setting the
// wall clock does not change it.
func (n *node) uptime() time.Duration { return n.now().Sub(n.process.began) }

// afterFunc is Clock.AfterFunc for the host's own jobs. A panic of f ends only that call.
func (n *node) afterFunc(d time.Duration, job string, f func()) Timer {
	return n.opts.Clock.AfterFunc(d, func() { n.contain(job, f) })
}

// contain runs a job of the host that is not about one room. It logs a panic, unless the job's last panic was the
// same.
func (n *node) contain(job string, f func()) {
	err := protect(func() error { f(); return nil })
	if err == nil {
		return
	}
	if last, told := n.reports.panics.Swap(job, err.Error()); !told || last != err.Error() {
		n.opts.Logger.Error("a job of the host panicked", append([]any{"job", job, "err", err}, stackOf(err)...)...)
	}
}

// repeat retries something: at once, and then after pauses that grow to 5 s.
func (n *node) repeat(try int, job string, again func()) {
	if try == 0 {
		again()
		return
	}
	n.afterFunc(min(50*time.Millisecond<<min(try, 10), 5*time.Second), job, again)
}

// courier returns a courier that reports a panicking link to the operator.
func (n *node) courier(key Key) courier {
	return courier{func(c *hibernate.Connection, value any, stack []byte) {
		n.opts.Logger.Error("a connection's link panicked",
			"namespace", key.Namespace, "room", key.Room, "connection", c.ID(), "panic", value, "stack", string(stack))
	}}
}

// linkPanicked is called if a connection's link panics while it is sent presence.
func (n *node) linkPanicked(key hibernate.Key, c *hibernate.Connection, value any, stack []byte) {
	n.courier(Key(key)).panicked(c, value, stack)
}

// logFailed reports whether the disk has failed under the commit log. Then Den writes only what it must, so that
// rooms can still be read.
func (n *node) logFailed() bool { return n.log != nil && n.log.Failed() }

// guard is protect for work on a room's file outside of the room's turns. It also reports a panic.
func (n *node) guard(key Key, f func() error) error {
	err := protect(f)
	if stackOf(err) != nil {
		n.report(key, "work on a room's file panicked", err)
	}
	return err
}

// report records that a room cannot be used. It tells the operator, unless the room's last report was about the same
// fault. event is the log's message.
func (n *node) report(key Key, event string, err error) {
	n.logFault(n.reports.failures.note(key, err, n.now()), key, event, err)
}

// complain tells the operator of a fault of the storage in a room that could be opened, and may be again.
func (n *node) complain(key Key, event string, err error) {
	n.logFault(n.reports.failures.complain(key, err, n.now()), key, event, err)
}

// logFault logs a fault of a room: for the operator if it is news.
func (n *node) logFault(news bool, key Key, event string, err error) {
	args := []any{"namespace", key.Namespace, "room", key.Room, "err", err}
	if !news {
		n.opts.Logger.Debug(event, args...)
		return
	}
	if hint := n.hint(key, err); hint != "" {
		args = append(args, "hint", hint)
	}
	n.opts.Logger.Error(event, append(args, stackOf(err)...)...)
}

// hints say what an operator can do, by the first error that matches. ROOM and DIR are replaced.
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

// hint returns what an operator can do about a room's fault, "" if the error says it all.
func (n *node) hint(key Key, err error) string {
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
	return strings.NewReplacer("ROOM", name, "DIR", "-data "+n.opts.Dir).Replace(text)
}

// How much memory the messages of a node may take: Options.Memory. The host owns the budget. A message counts from
// the time it is put into a room's mailbox until it is answered. What a room sends counts from the end of the turn
// until the last socket has taken it, once for all sockets.

const (
	// unqueuedShare is the divisor of Options.Memory for requests that wait for a place in a mailbox.
	unqueuedShare = 4
	// reportEvery is how often the operator is told that messages are refused, or that clients are read slowly.
	reportEvery = time.Minute
)

// admit takes the bytes of a message from the budget. If there are none left, it tells the operator.
func (n *node) admit(bytes int) error { return n.admitTo(n.limits.memory, bytes) }

// admitTo is admit for a part of the memory.
func (n *node) admitTo(memory *hibernate.Memory, bytes int) error {
	err := memory.Admit(bytes)
	if err == nil {
		return nil
	}
	if n.due(&n.reports.told.refused) {
		n.opts.Logger.Warn("messages are refused with overloaded, because the limit of memory is reached", "bytes", n.limits.memory.Used(),
			"limit", n.limits.memory.Limit(), "hint", "raise -memory (Options.Memory) if the machine has more")
	}
	return err
}

// due reports whether it is time to tell the operator something again, and notes the time.
func (n *node) due(told *atomic.Int64) bool {
	now, last := n.now().UnixNano(), told.Load()
	return (last == 0 || now-last >= int64(reportEvery)) && told.CompareAndSwap(last, now)
}

// warnCongested tells the operator that the node has far too much to do.
func (n *node) warnCongested() {
	if n.due(&n.reports.told.slow) {
		n.opts.Logger.Warn("clients are read slowly, because the server has too much to do",
			"hint", "each client has an equal share; more processors help")
	}
}

// shutdownContext returns the context of the Shutdown in work.
func (n *node) shutdownContext() context.Context {
	if ctx := n.shutdown.ending.Load(); ctx != nil {
		return *ctx
	}
	return context.Background()
}

func (n *node) closeLinks(key Key, conns []*hibernate.Connection) {
	for _, c := range conns {
		n.courier(key).close(c, closeGoingAway, goingAway)
	}
}

func (n *node) noteOf(c *hibernate.Connection) noteKey {
	return noteKey{n.process.run, int64(c.Serial)}
}

// deferClose keeps the end of a connection for the room's next life, or for this one if it has one.
func (n *node) deferClose(key Key, m *closeMessage) {
	m.again = true
	n.pendingCloses.put(key, m)
	n.checkRoster(key) // without a life the next one checks by itself
}

// checkRoster has the room check its roster, if it is awake.
func (n *node) checkRoster(key Key) { _ = n.actors.SendAwake(key, rosterMessage{}, nil) }

// namespaceNames returns the names of the registered namespaces, sorted.
func (n *node) namespaceNames() []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.Sorted(maps.Keys(n.namespaces))
}
