package room_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// A starter sets alarms in the hooks that each life begins with.
type starter struct {
	room.Base
	script *starts
}

// starts is what a starter does, and what has become of it. Tests change it while the room sleeps.
type starts struct {
	onStart, onWake func(*room.Context) error
	onAlarm         func(room.Alarm) error
	ran             []string // "name/attempt after how long"
	began           time.Time
}

func (s *starter) OnStart(c *room.Context) error { return s.script.onStart(c) }
func (s *starter) OnWake(c *room.Context) error {
	if s.script.onWake == nil {
		return nil
	}
	return s.script.onWake(c)
}
func (s *starter) OnAlarm(c *room.Context, a room.Alarm) error {
	s.script.ran = append(s.script.ran, a.Name+" "+c.Now().Sub(s.script.began).Round(time.Minute).String())
	if s.script.onAlarm != nil {
		return s.script.onAlarm(a)
	}
	return nil
}

func openStarter(t *testing.T) (*roomtest.Host, *starts) {
	s := &starts{onStart: func(*room.Context) error { return nil }}
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("starters", func() room.Handler { return &starter{script: s} }, room.Call("look", func(*starter, *room.Context, any) (int, error) { return 0, nil }))
	})
	s.began = h.Clock.Now()
	return h, s
}

// visit wakes the room and has it sleep again, each time after a pause.
func visit(h *roomtest.Host, times int, pause time.Duration) {
	for range times {
		h.Join("starters", "r", "a").Leave()
		h.SleepRoom("starters", "r")
		h.Advance(pause)
	}
}

func in1h(name string) func(*room.Context) error {
	return func(c *room.Context) error { return c.SetAlarm(name, c.Now().Add(time.Hour)) }
}

// A room that is woken every ten minutes, and sets an alarm an hour ahead each time, has it ring after an hour.
func TestAlarmSetInEachLifeRings(t *testing.T) {
	for _, hook := range []string{"OnStart", "OnWake"} {
		t.Run(hook, func(t *testing.T) {
			h, s := openStarter(t)
			if hook == "OnStart" {
				s.onStart = in1h("tidy")
			} else {
				h.Join("starters", "r", "b") // stays: there is no OnWake in the first life, nor in another one of a room that left nothing
				h.SleepRoom("starters", "r")
				s.onWake = in1h("tidy")
			}
			visit(h, 13, 10*time.Minute)
			// The alarm's own wake finds it due, and does not set it again; the next visit does, ten minutes later at the most.
			if want := []string{"tidy 1h0m0s", "tidy 2h0m0s"}; !slices.Equal(s.ran, want) && !slices.Equal(s.ran, []string{"tidy 1h0m0s", "tidy 2h10m0s"}) {
				t.Errorf("ran %q, want %q", s.ran, want)
			}
		})
	}
}

// In OnStart an alarm may be moved to an earlier time, and to a later one only by cancelling it. A periodic one is replaced.
func TestAlarmMovedInOnStart(t *testing.T) {
	h, s := openStarter(t)
	due := func() time.Duration {
		t.Helper()
		for a, err := range h.Alarms(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			return a.Due.Sub(s.began)
		}
		return 0
	}
	set := func(at time.Duration) func(*room.Context) error {
		return func(c *room.Context) error { return c.SetAlarm("x", s.began.Add(at)) }
	}
	for _, step := range []struct {
		what string
		do   func(*room.Context) error
		want time.Duration
	}{
		{"set", set(time.Hour), time.Hour},
		{"later", set(2 * time.Hour), time.Hour},
		{"earlier", set(30 * time.Minute), 30 * time.Minute},
		{"cancelled and later", func(c *room.Context) error {
			_, err := c.CancelAlarm("x")
			return errors.Join(err, set(3*time.Hour)(c))
		}, 3 * time.Hour},
		{"periodic", func(c *room.Context) error { return c.SetAlarmEvery("x", "@hourly", "") }, time.Hour},
		{"one-off again", set(5 * time.Hour), 5 * time.Hour},
	} {
		s.onStart = step.do
		visit(h, 1, 0)
		if got := due(); got != step.want {
			t.Errorf("%s: due after %v, want %v", step.what, got, step.want)
		}
	}
}

// An alarm that fails comes to an end, also where each life sets it again for now.
func TestFailingAlarmSetInOnStartIsGivenUp(t *testing.T) {
	h, s := openStarter(t)
	s.onStart = func(c *room.Context) error { return c.SetAlarm("x", c.Now()) }
	var attempts []int
	s.onAlarm = func(a room.Alarm) error {
		attempts = append(attempts, a.Attempt)
		return errors.New("no")
	}
	visit(h, 40, 2*time.Second)
	if len(attempts) < 6 || !slices.Equal(attempts[:6], []int{1, 2, 3, 4, 5, 6}) {
		t.Errorf("the tries were %v, want 1 to 6 first", attempts)
	}
}
