package room_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/roomfile"
)

// Rooms that have no file yet: they are rooms to everybody who works with them as a whole, also when
// a power cut has left them in the commit log only.

// logOnly is a host with nests on a disk that may lose power.
type logOnly struct {
	*diskHost
	log bytes.Buffer
}

func newLogOnly(t *testing.T) *logOnly {
	t.Helper()
	u := &logOnly{diskHost: newDiskHost(t, 1, func(h *room.Host) error {
		return h.Register("nests", func() room.Handler { return new(nestling) })
	})}
	u.o.Logger = slog.New(slog.NewTextHandler(&u.log, nil))
	u.start()
	// The first one makes the template.
	if err := inner.OfHost(u).Settle(t.Context(), nest("first")); err != nil {
		t.Fatal(err, u.log.String())
	}
	return u
}

func nest(name string) room.Key { return room.Key{Namespace: "nests", Room: name} }

// A nestling writes when its room begins.
type nestling struct {
	room.Base
	Eggs room.Table[egg]
}

type egg struct {
	ID string
	room.Stamps
}

func (n *nestling) OnStart(c *room.Context) error {
	if c.Key().Room == "empty" {
		return nil
	}
	if err := n.Eggs.Upsert(c, egg{ID: "one"}); err != nil {
		return err
	}
	return c.SetAlarm("hatch", c.Now().Add(time.Hour))
}

func (n *nestling) OnAlarm(*room.Context, room.Alarm) error { return nil }

func (u *logOnly) rooms() (names []string) {
	u.t.Helper()
	for key, err := range u.Rooms(u.t.Context(), "nests") {
		if err != nil {
			u.t.Fatal(err)
		}
		names = append(names, key.Room)
	}
	slices.Sort(names)
	return names
}

// file reports whether the room has one.
func (u *logOnly) file(name string) bool {
	u.t.Helper()
	path, err := roomfile.Path("/data", "nests", name)
	if err != nil {
		u.t.Fatal(err)
	}
	_, err = u.o.FS.Size(path)
	return err == nil
}

func (u *logOnly) wake(names ...string) {
	u.t.Helper()
	for _, name := range names {
		if err := inner.OfHost(u).Settle(u.t.Context(), nest(name)); err != nil {
			u.t.Fatal(err, u.log.String())
		}
		if u.file(name) {
			u.t.Fatalf("%s has a file", name)
		}
	}
}

// A room that is awake and has no file is listed, copied, and found again when it has slept.
func TestRoomWithoutAFile(t *testing.T) {
	u := newLogOnly(t)
	u.wake("a", "empty")
	if got := fmt.Sprint(u.rooms()); got != "[a empty first]" {
		t.Errorf("the rooms are %s", got)
	}
	if err := u.Backup(t.Context(), nest("a"), "/a.db"); err != nil {
		t.Error(err)
	}
	if err := u.Import(t.Context(), nest("a"), bytes.NewReader(nil)); err == nil {
		t.Error("it was imported over")
	}
	for _, name := range []string{"a", "empty"} {
		if err := u.Sleep(t.Context(), nest(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(u.rooms()); got != "[a first]" || !u.file("a") || u.file("empty") {
		t.Errorf("when they sleep: %s", got)
	}
}

// What a power cut leaves in the log only is listed, copied, looked into for alarms, and recovered when
// nobody calls for it.
func TestRoomsOfTheLogOnly(t *testing.T) {
	for _, how := range []string{"listed", "backup", "alarms", "status", "recovered", "restarted"} {
		t.Run(how, func(t *testing.T) {
			u := newLogOnly(t)
			u.wake("a", "b", "empty")
			u.cut()
			if u.file("a") {
				t.Fatal("it has a file")
			}
			ctx := t.Context()
			switch how {
			case "listed":
				if got := fmt.Sprint(u.rooms()); got != "[a b first]" {
					t.Errorf("%s", got)
				}
			case "backup":
				if err := u.Backup(ctx, nest("a"), "/a.db"); err != nil {
					t.Error(err)
				}
				if err := u.Backup(ctx, nest("empty"), "/e.db"); err == nil {
					t.Error("a room that nobody has seen was copied")
				}
			case "alarms":
				rooms, alarmed, err := u.RebuildAlarms(ctx, "nests")
				if rooms != 3 || alarmed != 3 || err != nil {
					t.Errorf("%d rooms, %d with alarms, %v", rooms, alarmed, err)
				}
			case "status":
				if _, err := u.MigrationStatus(nest("a")); err != nil {
					t.Error(err)
				}
				if _, err := u.MigrationStatus(nest("empty")); err == nil {
					t.Error("a room that nobody has seen has a status")
				}
			case "recovered":
				for range 3 {
					u.clock.Advance(11 * time.Second)
				}
				if !u.file("a") || !u.file("b") || u.file("empty") {
					t.Errorf("a %v, b %v, empty %v", u.file("a"), u.file("b"), u.file("empty"))
				}
			case "restarted":
				u.stop()
				u.start()
			}
			u.stop()
			u.start()
			for _, name := range []string{"a", "b"} {
				s, err := u.MigrationStatus(nest(name))
				if err != nil {
					t.Errorf("%s: %+v, %v", name, s, err)
				}
			}
			if bytes.Contains(u.log.Bytes(), []byte("is not there")) {
				t.Errorf("%s", u.log.String())
			}
		})
	}
}
