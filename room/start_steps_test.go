package room_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A start has many steps, and each may fail. What the start took by then goes back: the room's place among those that
// are awake, its file, its descriptors. One place is all that these hosts have.

// A stumble is where and how a start fails, like "OnStart panics"; "" for one that does not.
type stumble struct{ at atomic.Value }

func (s *stumble) is(step string) bool { return s.at.Load() == step }

// over fails if it is to be at a step.
func (s *stumble) over(step string) error {
	switch s.at.Load() {
	case step + " fails":
		return errors.New("not today")
	case step + " panics":
		panic("not today")
	case step + " exits":
		runtime.Goexit() // as t.FailNow does
	}
	return nil
}

type stumbling struct {
	room.Base
	Items room.Table[item]
	step  *stumble
}

func (s *stumbling) OnStart(c *room.Context) error {
	if s.step.is("a channel has no table") {
		return nil
	}
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS plain (id TEXT PRIMARY KEY, created_at INTEGER, updated_at INTEGER, deleted_at INTEGER)`)
	return errors.Join(err, s.step.over("OnStart"))
}

func (s *stumbling) OnWake(*room.Context) error { return s.step.over("OnWake") }

func (s *stumbling) Put(c *room.Context, in item) error { return s.Items.Upsert(c, in) }

func TestInvariantIsolationStartThatFails(t *testing.T) {
	for _, step := range []string{
		"the factory panics", "the factory exits", "the factory makes nothing",
		"a migration fails", "a migration panics", "a migration exits",
		"OnStart fails", "OnStart panics", "OnStart exits",
		"OnWake fails", "OnWake panics", "OnWake exits",
		"a channel has no table",
	} {
		t.Run(step, func(t *testing.T) { startFails(t, step) })
	}
}

func startFails(t *testing.T, step string) {
	var at stumble
	at.at.Store("")
	h := roomtest.New(t, func(h *room.Host) error {
		create := func() room.Handler {
			if at.over("the factory"); at.is("the factory makes nothing") {
				return nil
			}
			return &stumbling{step: &at}
		}
		return h.Register("stumbling", create, room.Action("put", (*stumbling).Put), room.Synced("plain"),
			room.Migrations(room.GoMigration("first", func(*room.Context) error { return at.over("a migration") })))
	}, func(o *room.Options) { o.MaxAwake = 1 })
	if strings.HasPrefix(step, "OnWake") {
		h.Join("stumbling", "r", "early")
		h.SleepRoom("stumbling", "r")
	}
	at.at.Store(step)
	descriptors := 0
	for try := range 4 {
		if _, err := h.TryJoin("stumbling", "r", "alice"); err == nil {
			t.Fatal("the room started")
		}
		h.Advance(time.Minute) // it is tried again by then
		if now := openDescriptors(t); try == 0 {
			descriptors = now
		} else if now > descriptors {
			t.Errorf("%d descriptors after the first try, %d after %d", descriptors, now, try+1)
		}
	}
	if n := h.Awake(); n != 0 {
		t.Errorf("%d rooms are awake", n)
	}
	at.at.Store("")
	mustSucceed(t, h.Join("stumbling", "other", "bob").Do("items", "put", object{"id": "1"}))
	h.SleepRoom("stumbling", "other")
	mustSucceed(t, h.Join("stumbling", "r", "alice").Do("items", "put", object{"id": "1"}))
}

// openDescriptors is how many the process has, 0 where that cannot be told.
func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

// A factory that panics when it is registered is an error of Register.
func TestRegisterAFactoryThatPanics(t *testing.T) {
	h, _ := open(t)
	if err := h.Register("broken", func() room.Handler { panic("not today") }); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("Register: %v", err)
	}
	if h.HasNamespace("broken") {
		t.Error("the namespace is registered")
	}
}

// A factory and an OnError that do not return have the time of a hook.
func TestInvariantIsolationUserCodeThatNeverReturns(t *testing.T) {
	for _, where := range []string{"factory", "OnError"} {
		t.Run(where, func(t *testing.T) {
			stuck := &sticking{where: where, entered: make(chan struct{}, 10), release: make(chan struct{})}
			h := roomtest.New(t, func(h *room.Host) error {
				return h.Register("sticky", stuck.create, room.Action("fail", (*sticky).Fail), room.Action("put", (*sticky).Put))
			})
			defer close(stuck.release)
			failed := make(chan error, 1)
			if where == "factory" {
				stuck.on.Store(true)
				go func() { // ends when the room is refused
					_, err := h.TryJoin("sticky", "r", "alice")
					failed <- err
				}()
			} else {
				alice := h.Join("sticky", "r", "alice")
				stuck.on.Store(true)
				go func() { // ends when the action is refused
					failed <- errors.New(alice.Do("items", "fail", object{}).Code)
				}()
			}
			within(t, stuck.entered, "the hook to begin")
			stuck.on.Store(false)
			h.Clock.Advance(5 * time.Second)
			h.Clock.Advance(5 * time.Second)
			select {
			case err := <-failed:
				if err == nil || !strings.Contains(err.Error(), "room_unavailable") {
					t.Errorf("who waited was told %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("nobody ended it")
			}
			h.Advance(time.Minute)
			mustSucceed(t, h.Join("sticky", "r", "bob").Do("items", "put", object{"id": "1"}))
		})
	}
}

// sticking makes rooms in which something does not return while it is on.
type sticking struct {
	where            string
	on               atomic.Bool
	entered, release chan struct{}
}

func (s *sticking) wait(where string) {
	if s.where == where && s.on.Load() {
		s.entered <- struct{}{}
		<-s.release
	}
}

func (s *sticking) create() room.Handler {
	s.wait("factory")
	return &sticky{of: s}
}

type sticky struct {
	room.Base
	Items room.Table[item]
	of    *sticking
}

func (s *sticky) Fail(*room.Context, item) error     { return errors.New("not today") }
func (s *sticky) Put(c *room.Context, in item) error { return s.Items.Upsert(c, in) }
func (s *sticky) OnError(c *room.Context, _ error)   { s.of.wait("OnError") }
