package room_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// powerless is a host with alarms on a disk that loses power at some write to come.
type powerless struct {
	*diskHost
	s *alarmScript
}

func newPowerless(t *testing.T, seed uint64, durability room.Durability) *powerless {
	t.Helper()
	s := new(alarmScript)
	p := &powerless{newDiskHost(t, seed, s.register), s}
	p.o.Durability, p.o.TimeTravel = durability, -1
	p.start()
	return p
}

// set sets an alarm from outside, and reports whether that was acknowledged.
func (p *powerless) set(name string, alarms ...setAlarm) bool {
	link := &lastFrame{came: make(chan string, 10)}
	session, err := p.Connect(p.t.Context(), room.Key{Namespace: "clocks", Room: name}, room.ConnectRequest{Link: link})
	if err != nil {
		return false
	}
	defer session.Close(1000, "")
	message, err := json.Marshal(object{"id": "1", "channel": "rings", "rpc": true, "action": object{"type": "set", "payload": alarms}})
	if err != nil {
		p.t.Fatal(err)
	}
	if session.Receive(message, false) != nil {
		return false
	}
	select {
	case frame := <-link.came:
		return strings.Contains(frame, `"success"`)
	case <-time.After(20 * time.Second):
		p.t.Error("no answer")
		return false
	}
}

type lastFrame struct{ came chan string }

func (l *lastFrame) Send(frames ...*room.Frame) {
	for _, f := range frames {
		l.came <- string(f.Payload())
	}
}

func (l *lastFrame) Close(int, string) {
	select {
	case l.came <- "closed":
	default:
	}
}

// advance lets minutes pass, and waits for the alarms of each: time that went on while one runs would
// end its hook.
func (p *powerless) advance(d time.Duration) {
	p.t.Helper()
	for ; d > 0; d -= time.Minute {
		p.clock.Advance(time.Minute)
		if err := inner.OfHost(p).SettleAlarms(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
}

// An alarm that was acknowledged runs, whenever the power goes: nobody calls for its room but
// the clock.
func TestInvariantGateAlarm(t *testing.T) {
	for _, durability := range []room.Durability{room.Durable, room.DurableFiles} {
		cuts := 0
		for seed := range uint64(25) {
			p := newPowerless(t, seed, durability)
			p.set("other", in("x", 100*time.Hour))
			p.advance(time.Minute) // now the index is there, and is taken to be whole
			p.disk.CrashAfter(int(seed) * 3)
			acked := map[string]bool{}
			for i := range 4 {
				name := fmt.Sprint("r", i)
				acked[name] = p.set(name, in("a", 2*time.Minute), in("b", 3*time.Minute))
				acked[name+"/sooner"] = p.set(name, in("sooner", time.Minute))
			}
			if p.disk.Stats().Crashes > 0 {
				cuts++
			}
			p.cut()
			p.advance(4 * time.Minute)
			ran := map[string]int{}
			for _, name := range strings.Fields(p.s.order()) {
				ran[name]++
			}
			want := map[string]int{}
			for i := range 4 {
				if acked[fmt.Sprint("r", i)] {
					want["a"]++
					want["b"]++
				}
				if acked[fmt.Sprint("r", i, "/sooner")] {
					want["sooner"]++
				}
			}
			for name, n := range want {
				if ran[name] < n {
					t.Errorf("durability %d, seed %d: %s was acknowledged in %d rooms, and ran in %d", durability, seed, name, n, ran[name])
				}
			}
			p.stop()
		}
		if cuts < 8 {
			t.Errorf("durability %d: only %d cuts in the middle", durability, cuts)
		}
	}
}

// The power goes while alarms run: what they wrote is there once for each that is gone, and each
// that is not gone runs.
func TestInvariantGateAlarmThatRuns(t *testing.T) {
	for seed := range uint64(25) {
		p := newPowerless(t, seed, room.Durable)
		for i := range 3 {
			if !p.set(fmt.Sprint("r", i), in("a", time.Minute), in("b", time.Minute), in("c", 2*time.Minute)) {
				t.Fatal("not set")
			}
		}
		p.disk.CrashAfter(int(seed))
		p.clock.Advance(3 * time.Minute)
		p.cut()
		p.advance(5 * time.Minute)
		for i := range 3 {
			if got := p.count(fmt.Sprint("r", i)); got != "a:1 b:1 c:1" {
				t.Errorf("seed %d, room %d: %s", seed, i, got)
			}
		}
		p.stop()
	}
}

// count is how often each alarm has run, by what it wrote.
func (p *powerless) count(name string) string {
	var b strings.Builder
	if err := p.Export(p.t.Context(), room.Key{Namespace: "clocks", Room: name}, &b, room.LinesFormat); err != nil {
		p.t.Fatal(err)
	}
	var all []string
	for _, alarm := range []string{"a", "b", "c"} {
		all = append(all, fmt.Sprintf("%s:%d", alarm, strings.Count(b.String(), `"`+alarm+`"`)))
	}
	return strings.Join(all, " ")
}

// An index that is missing, or is no database, is built again from the rooms' files.
func TestAlarmIndexIsBuiltAgain(t *testing.T) {
	for what, harm := range map[string]func(t *testing.T, dir string) error{
		"missing": func(_ *testing.T, dir string) error { return os.RemoveAll(filepath.Join(dir, "_alarms")) },
		"no database": func(_ *testing.T, dir string) error {
			return os.WriteFile(filepath.Join(dir, "_alarms", "index.db"), []byte(strings.Repeat("x", 5000)), 0o600)
		},
		"damaged": func(_ *testing.T, dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, "_alarms", "index.db"), os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte(strings.Repeat("\xff", 4096*3)), 100)
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			h, s := openAlarms(t, func(o *room.Options) { o.Dir = dir })
			for i := range 5 {
				c := h.Join("clocks", fmt.Sprint("r", i), "")
				if i < 3 {
					mustSucceed(t, c.Do("rings", "set", []setAlarm{in(fmt.Sprint("a", i), time.Duration(i+1)*time.Minute)}))
				}
			}
			if err := h.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := harm(t, dir); err != nil {
				t.Fatal(err)
			}
			h.Reopen()
			h.Advance(2 * time.Minute)
			if got := s.order(); got != "a0 a1" {
				t.Errorf("ran %q", got)
			}
			h.Reopen() // the index is whole again
			h.Advance(time.Minute)
			if got := s.order(); got != "a0 a1 a2" {
				t.Errorf("ran %q", got)
			}
		})
	}
}

// A host that runs no alarms, as an operator's command has it, does not search the rooms' files for them: it may be asked to, and the
// next host that runs alarms does.
func TestAlarmIndexIsNotBuiltWhereNoneRun(t *testing.T) {
	dir := t.TempDir()
	withoutIndex := func(h *roomtest.Host, rooms int) (*roomtest.Host, *alarmScript) {
		if err := h.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "_alarms")); err != nil {
			t.Fatal(err)
		}
		return openAlarms(t, func(o *room.Options) { o.Dir, o.AlarmRooms = dir, rooms })
	}
	h, _ := openAlarms(t, func(o *room.Options) { o.Dir = dir })
	mustSucceed(t, h.Join("clocks", "r", "").Do("rings", "set", []setAlarm{in("a", time.Minute)}))
	h, _ = withoutIndex(h, -1)
	h.Advance(0)
	if a, some := next(h, "r"); some {
		t.Errorf("the files were searched: %v", a)
	}
	if n, alarmed, err := h.RebuildAlarms(t.Context(), "clocks"); n != 1 || alarmed != 1 || err != nil {
		t.Errorf("asked to, it found %d rooms, %d with alarms, %v", n, alarmed, err)
	}
	if _, some := next(h, "r"); !some {
		t.Error("the alarm that was found is not listed")
	}
	h, s := withoutIndex(h, 0)
	h.Advance(time.Minute)
	if got := s.order(); got != "a" {
		t.Errorf("ran %q", got)
	}
}

// An index that does not know of a room's alarms, or of others than it has, is corrected when the room
// wakes; a room that wakes for nothing does nothing.
func TestAlarmIndexIsCorrected(t *testing.T) {
	dir := t.TempDir()
	index := filepath.Join(dir, "_alarms", "index.db")
	h, s := openAlarms(t, func(o *room.Options) { o.Dir, o.Durability = dir, room.DurableFiles })
	mustSucceed(t, h.Join("clocks", "moved", "").Do("rings", "set", []setAlarm{in("moved", time.Minute)}))
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	h.Reopen()
	mustSucceed(t, h.Join("clocks", "moved", "").Do("rings", "set", []setAlarm{in("moved", time.Hour)}))
	mustSucceed(t, h.Join("clocks", "unknown", "").Do("rings", "set", []setAlarm{in("unknown", time.Minute)}))
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(index, old, 0o600); err != nil {
		t.Fatal(err)
	}
	h.Reopen()
	h.Advance(30 * time.Minute)
	if got := s.order(); got != "" {
		t.Errorf("ran %q", got)
	}
	h.Join("clocks", "unknown", "")
	h.Advance(0)
	if got := s.order(); got != "unknown" {
		t.Errorf("after it woke there ran %q", got)
	}
	h.Advance(time.Hour)
	if got := s.order(); got != "unknown moved" {
		t.Errorf("ran %q", got)
	}
	if n, some := next(h, "moved"); some {
		t.Errorf("there is still %v", n)
	}
}

// An alarm in a room that does not start is tried again, and runs when the room does.
func TestAlarmOfARoomWhoseMigrationFails(t *testing.T) {
	s := new(alarmScript)
	fails := false
	register := func(h *room.Host) error {
		opts := []room.Option{room.Action("set", (*clockwork).Set)}
		if fails {
			opts = append(opts, room.Migrations(room.GoMigration("one", func(*room.Context) error {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.migrate
			})))
		}
		return h.Register("clocks", func() room.Handler { return &clockwork{script: s} }, opts...)
	}
	h := roomtest.New(t, register)
	mustSucceed(t, h.Join("clocks", "r", "").Do("rings", "set", []setAlarm{in("a", time.Minute)}))
	fails, s.migrate = true, errors.New("not yet")
	h.Reopen()
	h.Advance(10 * time.Minute)
	if f := h.Failures(); s.order() != "" || len(f) != 1 || f[0].Key.Room != "r" {
		t.Errorf("ran %q, failures %v", s.order(), f)
	}
	s.mu.Lock()
	s.migrate = nil
	s.mu.Unlock()
	h.Advance(time.Minute)
	if got := s.order(); got != "a" {
		t.Errorf("ran %q", got)
	}
}

// A restored backup brings its alarms, those that are past as well; the ones of the file that it
// replaces are gone.
func TestAlarmsOfABackup(t *testing.T) {
	h, s := openAlarms(t)
	key := room.Key{Namespace: "clocks", Room: "r"}
	c := h.Join("clocks", "r", "")
	mustSucceed(t, c.Do("rings", "set", []setAlarm{in("soon", time.Minute), in("later", 2*time.Hour)}))
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := h.Backup(t.Context(), key, path); err != nil {
		t.Fatal(err)
	}
	h.Advance(time.Hour)
	mustSucceed(t, c.Do("rings", "set", []setAlarm{in("younger", 30*time.Minute)}))
	if _, err := h.Restore(t.Context(), key, path); err != nil {
		t.Fatal(err)
	}
	h.Advance(0)
	if got := s.order(); got != "soon soon" {
		t.Errorf("after the restore there ran %q", got)
	}
	h.Advance(2 * time.Hour)
	if got := s.order(); got != "soon soon later" {
		t.Errorf("ran %q", got)
	}
}

// Alarms of a namespace that is not registered wait until it is.
func TestAlarmsWaitForTheirNamespace(t *testing.T) {
	s := new(alarmScript)
	known := true
	h := roomtest.New(t, func(h *room.Host) error {
		if !known {
			return nil
		}
		return s.register(h)
	})
	mustSucceed(t, h.Join("clocks", "r", "").Do("rings", "set", []setAlarm{in("a", time.Minute)}))
	known = false
	h.Reopen()
	h.Advance(time.Hour)
	if s.order() != "" {
		t.Errorf("ran %q", s.order())
	}
	if err := s.register(h.Host); err != nil {
		t.Fatal(err)
	}
	h.Advance(0)
	if s.order() != "a" {
		t.Errorf("ran %q", s.order())
	}
}

// A process that dies in an alarm again and again gets over it: from the second time on the alarm is
// counted before it runs, alone, and is given up at last. Others run.
func TestAlarmThatKillsTheProcess(t *testing.T) {
	p := newPowerless(t, 1, room.Durable)
	p.o.AlarmTries = 2
	p.stop()
	p.start()
	for _, name := range []string{"r1", "r2", "r3"} {
		if !p.set(name, in(map[string]string{"r1": "a", "r2": "killer", "r3": "c"}[name], time.Minute)) {
			t.Fatal("not set")
		}
	}
	deaths, died := 0, false
	p.s.set(func(c *room.Context, a room.Alarm) error {
		if a.Name == "killer" {
			p.disk.Kill() // nothing of what follows reaches the disk
			deaths, died = deaths+1, true
		}
		return nil
	})
	for range 10 {
		p.clock.Advance(2 * time.Minute)
		inner.OfHost(p).SettleAlarms(t.Context())
		if !died {
			break
		}
		died = false
		_ = p.Shutdown(context.Background()) // its disk is dead
		if err := p.disk.Restart(); err != nil {
			t.Fatal(err)
		}
		p.start()
	}
	if deaths < 3 || deaths > 5 {
		t.Errorf("the process died %d times", deaths)
	}
	if f := p.AlarmFailures(); len(f) != 1 || f[0].Name != "killer" {
		t.Errorf("given up: %v", f)
	}
	for name, want := range map[string]string{"r1": "a:1 b:0 c:0", "r3": "a:0 b:0 c:1"} {
		if got := p.count(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
