package room_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

type rung struct {
	ID   string
	Name string
	Late int64 // ms after Due
	Try  int
	room.Stamps
}

// clockwork is a room whose alarms write down that they ran, and do what the test wants.
type clockwork struct {
	room.Base
	Rings  room.Table[rung] `den:"rings"`
	script *alarmScript
}

// alarmScript is what a test has the alarms of all its rooms do.
type alarmScript struct {
	mu      sync.Mutex
	do      func(c *room.Context, a room.Alarm) error
	start   func(c *room.Context) error
	errs    []error
	ran     []string
	migrate error
}

func (s *alarmScript) set(do func(c *room.Context, a room.Alarm) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do = do
}

func (s *alarmScript) order() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.ran, " ")
}

func (k *clockwork) OnStart(c *room.Context) error {
	if k.script.start != nil {
		return k.script.start(c)
	}
	return nil
}

func (k *clockwork) OnError(_ *room.Context, err error) {
	k.script.mu.Lock()
	defer k.script.mu.Unlock()
	k.script.errs = append(k.script.errs, err)
}

func (k *clockwork) OnAlarm(c *room.Context, a room.Alarm) error {
	k.script.mu.Lock()
	k.script.ran = append(k.script.ran, a.Name)
	do := k.script.do
	k.script.mu.Unlock()
	err := k.Rings.Insert(c, rung{ID: fmt.Sprintf("%s@%d/%d", a.Name, c.Now().UnixMilli(), a.Attempt), Name: a.Name, Late: c.Now().Sub(a.Due).Milliseconds(), Try: a.Attempt})
	if err == nil && do != nil {
		err = do(c, a)
	}
	return err
}

type setAlarm struct {
	Name, Cron, Zone string
	In               int64 // ms from now
}

func (k *clockwork) Set(c *room.Context, in []setAlarm) error {
	for _, a := range in {
		err := error(nil)
		if a.Cron != "" {
			err = c.SetAlarmEvery(a.Name, a.Cron, a.Zone)
		} else {
			err = c.SetAlarm(a.Name, c.Now().Add(time.Duration(a.In)*time.Millisecond))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *clockwork) SetAndFail(c *room.Context, in []setAlarm) error {
	return errors.Join(k.Set(c, in), errors.New("no"))
}

func (k *clockwork) Cancel(c *room.Context, name string) (bool, error) { return c.CancelAlarm(name) }

func (k *clockwork) List(c *room.Context, _ any) ([]room.Alarm, error) { return c.Alarms() }

func (k *clockwork) SQL(c *room.Context, sql string) error {
	_, err := c.Exec(sql)
	return err
}

func openAlarms(t *testing.T, opts ...roomtest.Option) (*roomtest.Host, *alarmScript) {
	t.Helper()
	s := new(alarmScript)
	return roomtest.New(t, s.register, opts...), s
}

func (s *alarmScript) register(h *room.Host) error {
	return h.Register("clocks", func() room.Handler { return &clockwork{script: s} },
		room.Action("set", (*clockwork).Set), room.Action("setAndFail", (*clockwork).SetAndFail), room.Call("cancel", (*clockwork).Cancel),
		room.Call("list", (*clockwork).List), room.Action("sql", (*clockwork).SQL))
}

// rings are the names of the alarms that ran in a room, as its table has them, with what distinguishes them.
func rings(t *testing.T, h *roomtest.Host, name string) string {
	t.Helper()
	c := h.Join("clocks", name, "")
	defer c.Leave()
	var all []string
	rows := c.Sync("rings")
	slices.SortFunc(rows, func(a, b roomtest.Row) int { return strings.Compare(a[1].(string), b[1].(string)) })
	for _, r := range rows {
		all = append(all, fmt.Sprintf("%s+%.0f/%.0f", r[1], r[2], r[3]))
	}
	return strings.Join(all, " ")
}

func in(name string, d time.Duration) setAlarm { return setAlarm{Name: name, In: d.Milliseconds()} }

func TestAlarmsRunInOrder(t *testing.T) {
	h, s := openAlarms(t)
	alice := h.Join("clocks", "r", "alice")
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("c", 2*time.Second), in("b", time.Second), in("a", time.Second), in("late", time.Hour), in("now", -time.Hour)}))
	h.Advance(0)
	if got := s.order(); got != "now" {
		t.Errorf("at once ran %q", got)
	}
	h.Advance(999 * time.Millisecond)
	if got := s.order(); got != "now" {
		t.Errorf("too early ran %q", got)
	}
	h.Advance(time.Millisecond)
	if got := s.order(); got != "now a b" {
		t.Errorf("after a second ran %q", got)
	}
	if got := len(alice.Received()); got != 3 {
		t.Errorf("alice was told of %d rows", got)
	}
	alice.Leave()
	h.SleepRoom("clocks", "r")
	if h.Awake() != 0 {
		t.Fatal("the room is awake")
	}
	h.Advance(24 * time.Hour)
	if got := s.order(); got != "now a b c late" {
		t.Errorf("after a day ran %q", got)
	}
	if got := rings(t, h, "r"); got != "a+0/1 b+0/1 c+0/1 late+0/1 now+3600000/1" {
		t.Errorf("the room has %q", got)
	}
}

// What an action that failed has set or cancelled is as it was.
func TestInvariantAtomicAlarm(t *testing.T) {
	h, s := openAlarms(t)
	alice := h.Join("clocks", "r", "alice")
	mustRefuse(t, alice.Do("rings", "setAndFail", []setAlarm{in("first", time.Second)}), "action_failed") // the table is undone as well
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("kept", time.Minute)}))
	mustRefuse(t, alice.Do("rings", "setAndFail", []setAlarm{in("kept", time.Second), in("lost", time.Second)}), "action_failed")
	h.Advance(59 * time.Second)
	if got := s.order(); got != "" {
		t.Errorf("ran %q", got)
	}
	h.SleepRoom("clocks", "r")
	h.Advance(time.Second)
	if got := s.order(); got != "kept" {
		t.Errorf("ran %q, want kept", got)
	}
}

func TestAlarmsAreListedReplacedCancelled(t *testing.T) {
	h, s := openAlarms(t)
	alice := h.Join("clocks", "r", "alice")
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("b", time.Minute), in("a", time.Hour), {Name: "daily", Cron: "0 3 * * *", Zone: "Europe/Berlin"}}))
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("a", time.Second)}))
	listed := string(mustSucceed(t, alice.Do("rings", "list", nil)).Value)
	for _, want := range []string{
		`[{"Name":"a","Due":"2026-01-01T12:00:01Z","Attempt":1,"At":"2026-01-01T12:00:01Z","Cron":"","Zone":""},{"Name":"b",`,
		`"Name":"daily","Due":"2026-01-02T02:00:00Z","Attempt":1,"At":"2026-01-02T02:00:00Z","Cron":"0 3 * * *","Zone":"Europe/Berlin"`,
	} {
		if !strings.Contains(listed, want) {
			t.Errorf("listed %s, which lacks %s", listed, want)
		}
	}
	if e := mustSucceed(t, alice.Do("rings", "cancel", "b")); string(e.Value) != "true" {
		t.Errorf("cancelling b: %s", e.Value)
	}
	if e := mustSucceed(t, alice.Do("rings", "cancel", "b")); string(e.Value) != "false" {
		t.Errorf("cancelling b again: %s", e.Value)
	}
	h.Advance(2 * time.Hour)
	if got := s.order(); got != "a" {
		t.Errorf("ran %q", got)
	}
}

func TestInvariantBoundedAlarms(t *testing.T) {
	h, s := openAlarms(t)
	alice := h.Join("clocks", "r", "alice")
	var many []setAlarm
	for i := range room.MaxAlarms {
		many = append(many, in(fmt.Sprintf("a%04d", i), time.Minute))
	}
	mustSucceed(t, alice.Do("rings", "set", many))
	mustRefuse(t, alice.Do("rings", "set", []setAlarm{in("one more", time.Minute)}), "too_large")
	mustSucceed(t, alice.Do("rings", "set", many[:1])) // in place of one that is there
	for _, bad := range []setAlarm{in("", 0), in(strings.Repeat("x", 129), 0), {Name: "a0001", Cron: "* * *"}, {Name: "a0001", Cron: "0 0 30 2 *"}, {Name: "a0001", Cron: "@daily", Zone: "Nowhere"}} {
		mustRefuse(t, alice.Do("rings", "set", []setAlarm{bad}), "action_failed")
	}
	mustRefuse(t, alice.Do("rings", "sql", "DELETE FROM _den_alarms"), "action_failed")
	for _, err := range s.errs[1:6] {
		if !errors.Is(err, room.ErrBadAlarm) {
			t.Errorf("refused with %v", err)
		}
	}
	h.Advance(time.Minute)
	if got := strings.Count(s.order(), "a"); got != room.MaxAlarms {
		t.Errorf("%d alarms ran", got)
	}
	if !slices.IsSorted(strings.Fields(s.order())) {
		t.Error("not in the order of their names")
	}
}

func TestAlarmWithoutAHook(t *testing.T) {
	var err error
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("plain", func() room.Handler { return new(plain) }, room.Synced("t"), room.Action("set", func(_ *plain, c *room.Context, _ any) error {
			err = c.SetAlarm("x", c.Now())
			return nil
		}))
	})
	mustSucceed(t, h.Join("plain", "r", "").Do("t", "set", nil))
	if !errors.Is(err, room.ErrBadAlarm) || !strings.Contains(err.Error(), "OnAlarm") {
		t.Errorf("set without a hook: %v", err)
	}
}

type plain struct{ room.Base }

func (*plain) OnStart(c *room.Context) error {
	_, err := c.Exec("CREATE TABLE IF NOT EXISTS t (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at)")
	return err
}

// A hook may set its own alarm again, replace it, and cancel others or itself.
func TestAlarmsInsideOnAlarm(t *testing.T) {
	h, s := openAlarms(t)
	alice := h.Join("clocks", "r", "alice")
	s.set(func(c *room.Context, a room.Alarm) error {
		switch a.Name {
		case "again":
			return c.SetAlarm("again", c.Now().Add(time.Minute))
		case "cancels":
			there, err := c.CancelAlarm("victim")
			self, selfErr := c.CancelAlarm("cancels")
			if !there || self {
				return fmt.Errorf("cancelled: victim %v, itself %v", there, self)
			}
			return errors.Join(err, selfErr)
		case "periodic":
			self, err := c.CancelAlarm("periodic")
			if !self {
				return errors.New("a periodic one was gone")
			}
			return err
		}
		return nil
	})
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("again", time.Minute), in("cancels", 90*time.Second), in("victim", 90*time.Second), {Name: "periodic", Cron: "* * * * *"}}))
	h.Advance(5 * time.Minute)
	if got := s.order(); got != "again periodic cancels again again again again" {
		t.Errorf("ran %q", got)
	}
}

// A periodic alarm that is set in each life keeps its time; missed ones run once.
func TestPeriodicAlarms(t *testing.T) {
	h, s := openAlarms(t)
	s.start = func(c *room.Context) error { return c.SetAlarmEvery("hourly", "@hourly", "") }
	h.Join("clocks", "r", "alice").Leave()
	h.Advance(59*time.Minute + 59*time.Second)
	h.SleepRoom("clocks", "r")
	h.Join("clocks", "r", "alice").Leave()
	h.Advance(time.Second)
	if got := s.order(); got != "hourly" {
		t.Errorf("after an hour ran %q", got)
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.Clock.Advance(90 * time.Minute) // while the server is down
	h.Reopen()
	if got := s.order(); got != "hourly hourly" {
		t.Errorf("after the start ran %q", got)
	}
	h.Advance(30 * time.Minute)
	if got := s.order(); got != "hourly hourly hourly" {
		t.Errorf("half an hour later %q", got)
	}
	if got := rings(t, h, "r"); got != "hourly+0/1 hourly+1800000/1 hourly+0/1" {
		t.Errorf("the room has %q", got)
	}
	// Another expression replaces the first one.
	s.start = func(c *room.Context) error { return c.SetAlarmEvery("hourly", "*/10 * * * *", "") }
	h.SleepRoom("clocks", "r")
	h.Join("clocks", "r", "alice")
	h.Advance(30 * time.Minute)
	if got := strings.Count(s.order(), "hourly"); got != 6 {
		t.Errorf("every ten minutes: %d in all", got)
	}
}

// An alarm that fails is tried again with growing pauses, then reported; what it wrote is undone.
func TestAlarmRetries(t *testing.T) {
	for _, c := range []struct {
		what string
		fail func(c *room.Context) error
	}{
		{"an error", func(*room.Context) error { return errors.New("not today") }},
		{"a refusal", func(c *room.Context) error { return c.Abort("not_today", "Not today.") }},
		{"a panic", func(*room.Context) error { panic("not today") }},
		{"a lost batch", func(c *room.Context) error {
			_, err := c.Exec("INSERT OR ROLLBACK INTO rings SELECT * FROM rings UNION ALL SELECT 'x','x',1,1,1,1,1 UNION ALL SELECT 'x','x',1,1,1,1,1")
			return err
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			h, s := openAlarms(t)
			alice := h.Join("clocks", "r", "alice")
			var tries []time.Time
			s.set(func(ctx *room.Context, a room.Alarm) error {
				if a.Name != "bad" {
					return nil
				}
				tries = append(tries, ctx.Now())
				if a.Attempt != len(tries) || !a.Due.Equal(roomtest.Start.Add(time.Second)) {
					return fmt.Errorf("try %d of %v", a.Attempt, a.Due)
				}
				return c.fail(ctx)
			})
			mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("a", time.Second), in("bad", time.Second), in("z", time.Second)}))
			h.Advance(time.Hour)
			var pauses []time.Duration
			for i := 1; i < len(tries); i++ {
				pauses = append(pauses, tries[i].Sub(tries[i-1]))
			}
			if len(pauses) != 5 {
				t.Fatalf("pauses %v", pauses)
			}
			for i, p := range pauses {
				if want := 2 * time.Second << i; p < want*8/10 || p > want*12/10 {
					t.Errorf("pause %d is %v, want about %v", i, p, want)
				}
			}
			if got := rings(t, h, "r"); got != "a+0/1 z+0/1" {
				if !strings.HasPrefix(got, "a+0/1 z+") || c.what != "a panic" { // z is the next life's, which may be called again
					t.Errorf("the room has %q", got)
				}
			}
			failures := h.AlarmFailures()
			if len(failures) != 1 || failures[0].Name != "bad" || failures[0].Attempts != 6 || failures[0].Key.Room != "r" || failures[0].Err == nil {
				t.Errorf("reported: %+v", failures)
			}
			if !strings.Contains(fmt.Sprint(s.errs), "given up after 6 tries") {
				t.Errorf("OnError was told %v", s.errs)
			}
			if _, some := next(h, "r"); some {
				t.Error("the alarm is still there")
			}
		})
	}
}

// next is the room's first alarm, of those that the host lists.
func next(h *roomtest.Host, name string) (room.RoomAlarm, bool) {
	for a, err := range h.Alarms(context.Background()) {
		if err == nil && a.Key.Room == name {
			return a, true
		}
	}
	return room.RoomAlarm{}, false
}

// A periodic alarm that was given up goes on with its next time.
func TestPeriodicAlarmIsGivenUp(t *testing.T) {
	h, s := openAlarms(t, func(o *room.Options) { o.AlarmTries = 2 })
	alice := h.Join("clocks", "r", "alice")
	s.set(func(c *room.Context, a room.Alarm) error {
		if c.Now().Before(roomtest.Start.Add(90 * time.Minute)) {
			return errors.New("not in the first hour")
		}
		return nil
	})
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{{Name: "p", Cron: "@hourly"}}))
	h.Advance(2*time.Hour + time.Minute)
	if got := rings(t, h, "r"); got != "p+0/1" || s.order() != "p p p" || len(h.AlarmFailures()) != 1 {
		t.Errorf("%s; ran %s; %v", got, s.order(), h.AlarmFailures())
	}
}

// A hook that does not return is left behind, and counted: it does not come back for ever.
func TestAlarmThatHangs(t *testing.T) {
	h, s := openAlarms(t, func(o *room.Options) { o.AlarmTries = 3 })
	alice := h.Join("clocks", "r", "alice")
	block := make(chan struct{})
	defer close(block)
	entered := make(chan int, 10)
	s.set(func(c *room.Context, a room.Alarm) error {
		if a.Name == "hangs" {
			entered <- a.Attempt
			<-block
		}
		return nil
	})
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("hangs", time.Second), in("z", 2*time.Second)}))
	h.Clock.Advance(time.Second)
	for _, want := range []int{1, 1, 2, 3} { // the first was not counted
		if got := within(t, entered, "the alarm"); got != want {
			t.Errorf("try %d, want %d", got, want)
		}
		h.Clock.Advance(5 * time.Second)
		h.Clock.Advance(5 * time.Second) // the life is left behind
		h.Clock.Advance(time.Minute)
	}
	h.Advance(2 * time.Minute)
	if f := h.AlarmFailures(); len(f) != 1 || f[0].Name != "hangs" {
		t.Errorf("reported: %v", f)
	}
	if got := rings(t, h, "r"); !strings.HasPrefix(got, "z+") {
		t.Errorf("the room has %q", got)
	}
}

// The machine's clock may be set: alarms follow it within a minute.
func TestAlarmsFollowTheClock(t *testing.T) {
	h, s := openAlarms(t)
	alice := h.Join("clocks", "r", "alice")
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("a", 10*time.Hour)}))
	h.Clock.Step(10 * time.Hour)
	h.Advance(time.Minute)
	if got := s.order(); got != "a" {
		t.Errorf("a minute behind the step ran %q", got)
	}
	mustSucceed(t, alice.Do("rings", "set", []setAlarm{in("b", time.Hour)}))
	h.Clock.Step(-30 * time.Minute)
	h.Advance(89 * time.Minute)
	if got := s.order(); got != "a" {
		t.Errorf("too early ran %q", got)
	}
	h.Advance(32 * time.Minute)
	if got := s.order(); got != "a b" {
		t.Errorf("ran %q", got)
	}
}

// No alarm leaks from one host into the next; a host that is opened again has its own.
func TestAlarmsOfAHost(t *testing.T) {
	first, s1 := openAlarms(t)
	mustSucceed(t, first.Join("clocks", "r", "").Do("rings", "set", []setAlarm{in("mine", time.Minute)}))
	second, s2 := openAlarms(t)
	second.Join("clocks", "r", "")
	second.Advance(time.Hour)
	first.Reopen()
	if s1.order()+s2.order() != "" {
		t.Errorf("ran %q, %q", s1.order(), s2.order())
	}
	first.Advance(time.Hour)
	if s1.order() != "mine" || s2.order() != "" {
		t.Errorf("ran %q, %q", s1.order(), s2.order())
	}
	if err := first.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.Clock.Advance(time.Hour) // a timer that was left would call into a closed host
}

// An alarm that a migration sets wakes its room, though nobody calls for that again.
func TestInvariantGateAlarmOfAMigration(t *testing.T) {
	s := new(alarmScript)
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("clocks", func() room.Handler { return &clockwork{script: s} }, room.Migrations(
			room.GoMigration("remind", func(c *room.Context) error { return c.SetAlarm("m", c.Now().Add(time.Hour)) })))
	})
	h.Join("clocks", "r", "alice").Leave()
	h.SleepRoom("clocks", "r")
	h.Advance(2 * time.Hour)
	if got := s.order(); got != "m" {
		t.Errorf("there ran %q, want m", got)
	}
}
