package faults

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/faultdisk"
)

// onDisk opens a host on a disk that fails when it is told to.
func onDisk(t *testing.T, disk *faultdisk.Disk) *roomtest.Host {
	t.Helper()
	name := fmt.Sprintf("%s %p", t.Name(), disk)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // registered before the host's, so that it runs after it
		if err := unregister(); err != nil {
			t.Error(err)
		}
	})
	return roomtest.New(t, todo.Register, func(o *room.Options) {
		o.Dir, o.FS = "/data", disk.FS(name)
		if testing.Verbose() {
			o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		}
	})
}

// A busyRoom has a client that creates todos one by one, whatever it is answered.
type busyRoom struct {
	name         string
	client       *roomtest.Client
	sent         int
	acknowledged []string       // the todos that it was told are there
	refused      map[string]int // by code
}

func busyRooms(h *roomtest.Host, n int) []*busyRoom {
	var rooms []*busyRoom
	for i := range n {
		name := fmt.Sprint("busy", i)
		rooms = append(rooms, &busyRoom{name: name, client: h.Join(todo.Namespace, name, "alice"), refused: make(map[string]int)})
	}
	return rooms
}

// create creates the next todo, and reports whether it was told that it is there.
func (b *busyRoom) create() bool {
	b.sent++
	id := fmt.Sprintf("%06d", b.sent)
	e := create(b.client, id, strings.Repeat("x", 300))
	if e.Kind == "success" {
		b.acknowledged = append(b.acknowledged, id)
		return true
	}
	b.refused[e.Code]++
	return false
}

// succeed creates n todos.
func (b *busyRoom) succeed(t *testing.T, n int) {
	t.Helper()
	for range n {
		if !b.create() {
			t.Errorf("%s was refused on a good disk: %v", b.name, b.refused)
			return
		}
	}
}

// fail creates todos until n were refused.
func (b *busyRoom) fail(t *testing.T, n int) {
	t.Helper()
	for tries := 0; n > 0; tries++ {
		if !b.create() {
			n--
		}
		if tries > 1000 {
			t.Errorf("%s is not refused on a disk that fails", b.name)
			return
		}
	}
}

// each has all rooms do something at the same time.
func each(rooms []*busyRoom, do func(*busyRoom)) {
	var all sync.WaitGroup
	for _, b := range rooms {
		all.Go(func() { do(b) })
	}
	all.Wait()
}

// The commit log's disk is full, or fails, while rooms are busy. What they are asked to do is
// refused with a code; what can be read is read; and when the disk is well again the same
// process goes on. Nothing that was acknowledged is lost, not by a power cut then either; and
// of what a full disk has refused nothing is there.
func TestLogDiskFails(t *testing.T) {
	for name, fault := range map[string]faultdisk.Fault{
		"full":        {Op: faultdisk.OpWrite, Err: syscall.ENOSPC},
		"write fails": {Op: faultdisk.OpWrite},
		"sync fails":  {Op: faultdisk.OpSync},
	} {
		t.Run(name, func(t *testing.T) { failLogDisk(t, fault) })
	}
}

func failLogDisk(t *testing.T, fault faultdisk.Fault) {
	disk := faultdisk.New(1, faultdisk.PowersafeOverwrite)
	h := onDisk(t, disk)
	quiet := h.Join(todo.Namespace, "quiet", "reader")
	if e := create(quiet, "1", "milk"); e.Kind != "success" {
		t.Fatalf("%s", e.Data)
	}
	quiet.Sync("todos") // what it has is noted once, and that must be durable
	rooms := busyRooms(h, 4)
	for _, b := range rooms {
		b.client.Sync("todos")
	}
	for round := range 3 {
		each(rooms, func(b *busyRoom) { b.succeed(t, 5) })
		fault.Suffix, fault.After, fault.Times = ".log", 7*round, -1
		disk.Fail(fault)
		each(rooms, func(b *busyRoom) { b.fail(t, 5) })
		// A room that has noted what its client was sent, on a disk that fails, begins a new
		// life, and cannot: it answers once.
		if fault.Err == syscall.ENOSPC || round == 0 {
			if rows := quiet.Sync("todos"); len(rows) != 1 {
				t.Errorf("the quiet room while the disk fails: %v", rows)
			}
		}
		if fault.Err == syscall.ENOSPC {
			each(rooms, func(b *busyRoom) {
				if rows := b.client.Sync("todos"); len(rows) != len(b.acknowledged) {
					t.Errorf("%s while the disk is full: %d rows, %d acknowledged", b.name, len(rows), len(b.acknowledged))
				}
			})
		}
		disk.Heal()
		h.Advance(time.Minute) // rooms whose lives have ended wait before they begin another
	}
	each(rooms, func(b *busyRoom) { b.succeed(t, 5) })
	if rows := quiet.Sync("todos"); len(rows) != 1 {
		t.Errorf("the quiet room on a good disk: %v", rows)
	}
	for _, b := range rooms {
		for _, code := range slices.Sorted(maps.Keys(b.refused)) {
			// A room that cannot begin a life says that it is not available between its tries.
			if code != "storage_unavailable" && (code != "room_unavailable" || fault.Err == syscall.ENOSPC) {
				t.Errorf("%s was refused %d times with %s", b.name, b.refused[code], code)
			}
		}
		if b.refused["storage_unavailable"] == 0 {
			t.Errorf("%s was refused with %v", b.name, b.refused)
		}
	}
	dark := disk.Clone(2)
	dark.Crash()
	if err := dark.Restart(); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]*roomtest.Host{"the same process": h, "behind a power cut": onDisk(t, dark)} {
		for _, b := range rooms {
			b.check(t, h, name, fault)
		}
	}
}

// check compares what is there with what was told.
func (b *busyRoom) check(t *testing.T, h *roomtest.Host, when string, fault faultdisk.Fault) {
	t.Helper()
	there := make(map[string]bool)
	for _, row := range h.Join(todo.Namespace, b.name, "checker").Sync("todos") {
		there[row.ID().(string)] = true
	}
	for _, id := range b.acknowledged {
		if !there[id] {
			t.Errorf("%s: %s lacks %s", when, b.name, id)
		}
	}
	if fault.Err == syscall.ENOSPC && len(there) != len(b.acknowledged) {
		t.Errorf("%s: %s has %d todos, %d were acknowledged", when, b.name, len(there), len(b.acknowledged))
	}
}
