package room

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/awake"
	"github.com/denrooms/den/room/internal/machine"
	"github.com/denrooms/den/storage"
)

// A Host serves the rooms of one data directory. Its methods are safe from any
// goroutine.
type Host struct {
	node   node
	unlock func() error

	compactor compactor
	reminding reminding
	index     alarmIndex
	log       commitLog
	scrubber  scrubber

	releasing sync.Mutex // held while the host's own files are being closed
	released  bool       // the lock on the directory has been released; protected by releasing
}

// Open opens a data directory. If the directory cannot be written, or another process uses it, the error says what to
// do.
func Open(o Options) (*Host, error) {
	o.setDefaults()
	if o.Dir == "" {
		return nil, errors.New("room: Options.Dir is empty")
	}
	if err := o.checkDescriptors(machine.Descriptors()); err != nil {
		return nil, err
	}
	unlock, err := storage.LockDir(o.FS, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("room: %w", err)
	}
	h := &Host{unlock: unlock, node: node{
		opts: o, maxSnapshotRows: maxSnapshotRows, namespaces: make(map[string]*namespace),
	}}
	h.node.process.began, h.node.process.hashes = o.Clock.Now(), maphash.MakeSeed()
	h.node.limits.memory = hibernate.NewMemory(o.Memory)
	h.compactor.node = &h.node
	h.reminding.node, h.reminding.compactor = &h.node, &h.compactor
	h.log.node, h.log.reminding = &h.node, &h.reminding
	h.scrubber.node = &h.node
	h.index.node, h.index.reminding, h.index.recovery = &h.node, &h.reminding, &h.log.recovery
	h.node.limits.unqueued = h.node.limits.memory.Part(o.Memory / unqueuedShare)
	if _, real := o.Clock.(systemClock); real {
		h.node.limits.shares = hibernate.NewShares(h.node.warnCongested)
	}
	h.node.process.seed, h.node.process.run = hostSeed(o.Seed), newRun()
	if err := storage.ClearWALs(o.FS, filepath.Join(o.Dir, walsDir)); err != nil {
		return nil, errors.Join(fmt.Errorf("room: the directory of unused WALs: %w", err), unlock())
	}
	if err := h.log.open(); err != nil {
		return nil, errors.Join(err, unlock())
	}
	h.node.actors = actor.NewSystem(h.newLife, actor.Options{
		MailboxSize:  o.MailboxSize,
		MailboxBytes: o.MailboxBytes,
		Admit:        h.node.admit,
		Keep:         h.node.limits.memory.Take,
		Release:      h.node.limits.memory.Give,
		MaxBatch:     o.MaxBatch,
		FirstBatch:   firstMessages,
		Now:          o.Clock.Now,
		Logger:       o.Logger,
		Dispatcher:   o.inner.Dispatcher,
	})
	h.node.awake.Init(awake.Options{
		Now: o.Clock.Now, AfterFunc: func(d time.Duration, f func()) awake.Timer { return o.Clock.AfterFunc(d, f) },
		After: o.IdleAfter, Most: o.MaxAwake, Waits: o.inner.Dispatcher == nil, Retire: h.node.actors.Retire,
		Contain: func(f func()) { h.node.contain("putting rooms to sleep", f) },
	})
	h.node.presence.Panicked = h.node.linkPanicked
	h.compactor.sweepPast()
	h.compactor.sweepReplacedLater(replacedFirst)
	if err := h.index.open(); err != nil {
		h.node.shutdown.stopping.Store(true)
		return nil, errors.Join(err, h.log.close(), unlock())
	}
	h.scrubber.start()
	return h, nil
}

func hostSeed(seed uint64) (s [32]byte) {
	if seed == 0 {
		rand.Read(s[:]) // never fails (crypto/rand)
		return s
	}
	for i := range 8 {
		s[i] = byte(seed >> (8 * i))
	}
	return s
}

// Register adds a namespace. create makes the handler of one life of a room. It must return a new pointer to a struct
// each time, and do no more than that. Register may be called at any time, once for each name.
func (h *Host) Register(name string, create func() Handler, opts ...Option) error {
	ns, err := newNamespace(name, create, opts)
	if err != nil {
		return err
	}
	if !h.add(ns) {
		return fmt.Errorf("room: the namespace %q is registered twice", name)
	}
	h.index.registered(name)
	return nil
}

// add adds a namespace, unless there is one of that name.
func (h *Host) add(ns *namespace) bool {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	if h.node.namespaces[ns.name] != nil {
		return false
	}
	ns.node, ns.rooms = &h.node, h.node.conns.Rooms()
	ns.pool = h.node.newPool()
	h.node.namespaces[ns.name] = ns
	return true
}

// HasNamespace reports whether a namespace is registered.
func (h *Host) HasNamespace(name string) bool { return h.node.hasNamespace(name) }

// Connections is the number of connections to all rooms.
func (h *Host) Connections() int { return h.node.conns.Len() }

// Awake is the number of rooms that have a life now.
func (h *Host) Awake() int { return h.node.actors.Awake() }

// Sleep puts a room to sleep after the messages that wait for it, whatever work it has under way. The next message
// wakes it. Its connections stay.
func (h *Host) Sleep(ctx context.Context, key Key) error { return h.node.actors.Stop(ctx, key) }

// Shutdown accepts no more messages, finishes those that the rooms have, closes all connections with 1001, closes the
// databases, and unlocks the directory. If ctx ends first, Shutdown returns ctx's error, and the rest goes on.
func (h *Host) Shutdown(ctx context.Context) error {
	h.node.shutdown.ending.Store(&ctx)
	h.node.shutdown.stopping.Store(true)
	h.node.wakeToClose(ctx)
	h.node.limits.shares.Stop()
	h.node.presence.Close()
	h.node.awake.Close()
	h.node.alarms.Stop()
	h.compactor.stop()
	err := h.node.actors.Shutdown(ctx)
	if err != nil {
		return fmt.Errorf("room: shutdown: %w", err)
	}
	for _, c := range h.node.conns.All() { // of rooms that have no life
		h.node.courier(Key{Room: c.Room()}).close(c, closeGoingAway, goingAway)
	}
	released := make(chan error, 1)
	go func() { released <- h.release() }() // ends when the last file is closed
	select {
	case err := <-released:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(releaseGrace)
	defer grace.Stop()
	select {
	case err := <-released:
		return err
	case <-grace.C:
		return fmt.Errorf("room: shutdown: closing the last files: %w", context.Cause(ctx))
	}
}

// releaseGrace is how long Shutdown waits for the host's own files after its context has ended. Usually they are
// closed within milliseconds.
const releaseGrace = time.Second

// release closes what does not belong to a room, and unlocks the directory. A second call waits for the first.
func (h *Host) release() error {
	h.releasing.Lock()
	defer h.releasing.Unlock()
	if h.released {
		return nil
	}
	h.released = true
	h.log.recovery.Lock() // until the group of rooms in work has recovered
	defer h.log.recovery.Unlock()
	h.compactor.stop()
	h.compactor.work.Lock() // until it has stopped
	defer h.compactor.work.Unlock()
	h.scrubber.work.Lock() // until the piece in work is read
	defer h.scrubber.work.Unlock()
	h.node.closePools()
	return errors.Join(protect(h.index.close), protect(h.log.close), h.unlock()) // each, whatever the others return
}

// Descriptors returns how many descriptors the process may have, 0 without a limit, and how many of them the rooms
// may take.
func (h *Host) Descriptors() (limit, rooms int) {
	return machine.Descriptors(), h.node.opts.MaxAwake*descriptorsPerRoom + descriptorsBeside
}

// Failures returns the rooms that did not start when they were last called for, with the reason, the oldest first,
// and the newest 1000 of them. A room without a life is also one of them if the host's own work on its file failed:
// its recovery after a crash, or reading its alarms. A room that starts is no longer one of them.
func (h *Host) Failures() []Failure {
	h.node.reports.failures.mu.Lock()
	defer h.node.reports.failures.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.node.reports.failures.rooms), compareFailures)
}

// WorkLost returns how many pieces of work did not get their then since the host was opened, because their room's
// life ended first; see [Context.Go].
func (h *Host) WorkLost() uint64 { return h.node.workLost.Load() }

// Damaged returns how many times since the host was opened a scrub of a room's file has found a page that did not have its
// checksum; see Options.ScrubEvery. The scrub of a file ends with the first such page, and a file that is marked already is not
// scrubbed. The log has the room and the page.
func (h *Host) Damaged() uint64 { return h.scrubber.damaged.Load() }

// MemoryUsed is how many bytes of messages and frames the host keeps now. MemoryLimit is the most that it may keep.
func (h *Host) MemoryUsed() int64 { return h.node.limits.memory.Used() }

// MemoryLimit is Options.Memory, or its default.
func (h *Host) MemoryLimit() int64 { return h.node.limits.memory.Limit() }

// Memory is the budget that a transport takes memory from for what waits for its sockets.
func (h *Host) Memory() *hibernate.Memory { return h.node.limits.memory }

// Shares says what each client may have of the node while it has too much to do. A transport lets new clients wait
// for it.
func (h *Host) Shares() *hibernate.Shares { return h.node.limits.shares }

func (h *Host) newLife(key Key, number uint64) actor.Behavior {
	l := new(life)
	r := &l.room
	r.node, r.key, r.number = &h.node, key, number
	l.compactor, l.replies.reminding = &h.compactor, &h.reminding
	r.ns = h.node.namespace(key.Namespace)
	r.name = nameOf(key)
	r.memory = h.node.limits.memory.Part(h.node.opts.Memory / roomShare)
	r.log = h.node.opts.Logger.With("namespace", key.Namespace, "room", key.Room)
	ctx, cancel := context.WithCancel(context.Background())
	l.room.ctx, l.room.end = ctx, func() { r.work.end(); cancel() }
	l.room.alone = h.node.recent.losses.Take(key)
	l.connectParts()
	l.awake.Init(key, number, l.mayRest)
	return l
}

// roomShare is the divisor of Options.Memory for what one room sends.
const roomShare = 4

// wakeToClose runs OnClose in rooms that sleep with connections, in namespaces with the Option WakeOnClose: it wakes
// each room and ends it again. It returns when ctx ends.
func (n *node) wakeToClose(ctx context.Context) {
	rooms := make(chan Key)
	var workers sync.WaitGroup
	for range shutdownAtOnce {
		workers.Go(func() { // they end when rooms is closed, below
			for key := range rooms {
				if _, err := n.actors.Request(ctx, key, barrierMessage{}); err == nil {
					_ = n.actors.Stop(ctx, key) // a failed end is logged; an ended ctx concerns Shutdown
				}
			}
		})
	}
	defer workers.Wait()
	defer close(rooms)
	for _, key := range n.asleepWithClose() {
		select {
		case rooms <- key:
		case <-ctx.Done():
			return
		}
	}
}

// shutdownAtOnce is how many sleeping rooms are woken at the same time for their OnClose.
const shutdownAtOnce = 16

func (n *node) asleepWithClose() (keys []Key) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, ns := range n.namespaces {
		if !ns.closes || !ns.wakeOnClose {
			continue
		}
		seen := make(map[string]bool)
		for _, c := range ns.rooms.All() {
			if key := (Key{Namespace: ns.name, Room: c.Room()}); !seen[key.Room] && !n.actors.Has(key) {
				keys = append(keys, key)
			}
			seen[c.Room()] = true
		}
	}
	return keys
}

// newRun returns a number for this process.
func newRun() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return int64(binary.LittleEndian.Uint64(b[:]) >> 1)
}
