package room_test

import (
	"context"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// A process that dies in the second of a room's alarms gets over it too: once a room was in work when the process died, each of
// its alarms has a turn of its own, so that the one that was counted is the one that kills.
func TestSecondAlarmThatKillsTheProcess(t *testing.T) {
	p := newPowerless(t, 1, room.Durable)
	p.o.AlarmTries = 2
	p.stop()
	p.start()
	if !p.set("r", in("a", time.Minute), in("killer", 61*time.Second), in("z", 62*time.Second)) {
		t.Fatal("not set")
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
	if deaths < 2 || deaths > 5 {
		t.Errorf("the process died %d times", deaths)
	}
	if f := p.AlarmFailures(); len(f) != 1 || f[0].Name != "killer" {
		t.Errorf("given up: %v", f)
	}
	p.s.set(nil)
	if !p.set("r", in("a", time.Hour)) {
		t.Error("the room does not work any more")
	}
}
