package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
)

// ringer is a room whose alarm writes down that it ran, and tells the benchmark how late.
type ringer struct {
	room.Base
	ran chan<- time.Duration
	due time.Time
}

func (r *ringer) OnStart(c *room.Context) error {
	_, err := c.Exec("CREATE TABLE IF NOT EXISTS rings (id INTEGER PRIMARY KEY, at)")
	return err
}

func (r *ringer) OnAlarm(c *room.Context, a room.Alarm) error {
	if _, err := c.Exec("INSERT INTO rings (at) VALUES (?)", c.Now()); err != nil {
		return err
	}
	return c.Go(func(context.Context) error { // after the commit
		r.ran <- time.Since(a.Due)
		return nil
	}, func(*room.Context, error) error { return nil })
}

func (r *ringer) OnMessage(c *room.Context, m room.Message) error {
	if string(m.Data) == "set" {
		return c.SetAlarm("bench", r.due)
	}
	if _, err := c.Exec("INSERT INTO rings (at) VALUES (?)", c.Now()); err != nil {
		return err
	}
	return c.Conn().Send(room.Text("{}"))
}

// BenchmarkAlarms: many sleeping rooms have an alarm at the same moment, and each writes a row, durably. How
// long it takes until the last one has, how late the alarms are, and what another, awake room's actions
// feel of it.
func BenchmarkAlarms(b *testing.B) {
	rooms := fully(10_000, 500)
	for range b.N {
		alarmBench(b, rooms)
	}
}

func alarmBench(b *testing.B, rooms int) {
	ran := make(chan time.Duration, rooms)
	due := time.Now().Add(time.Duration(rooms)*30*time.Millisecond + 6*time.Second).Truncate(time.Second)
	host, err := room.Open(room.Options{Dir: b.TempDir(), Logger: quiet})
	if err == nil {
		err = host.Register("ringers", func() room.Handler { return &ringer{ran: ran, due: due} }, room.Synced())
	}
	if err != nil {
		b.Fatal(err)
	}
	defer host.Shutdown(context.Background())
	var setting sync.WaitGroup
	for part := range 8 {
		setting.Go(func() {
			for i := part; i < rooms; i += 8 {
				sleepWithAlarm(b, host, fmt.Sprint("r", i))
			}
		})
	}
	setting.Wait()
	if time.Until(due) < 2*time.Second {
		b.Fatal("setting the alarms took until they were due")
	}
	time.Sleep(time.Until(due) - 2*time.Second)
	awake := &echo{came: make(chan struct{}, 1)}
	session, err := host.Connect(context.Background(), room.Key{Namespace: "ringers", Room: "awake"}, room.ConnectRequest{Link: awake})
	if err != nil {
		b.Fatal(err)
	}
	act := func(until func() bool) (took []time.Duration) {
		for !until() {
			began := time.Now()
			if err := session.Receive([]byte("act"), true); err != nil {
				b.Fatal(err)
			}
			<-awake.came
			took = append(took, time.Since(began))
		}
		return took
	}
	before := act(func() bool { return time.Until(due) <= 100*time.Millisecond })
	late := make([]time.Duration, 0, rooms)
	time.Sleep(time.Until(due))
	during := act(func() bool {
		for {
			select {
			case l := <-ran:
				late = append(late, l)
			default:
				return len(late) == rooms
			}
		}
	})
	session.Close(1000, "")
	slices.Sort(late)
	us := func(d time.Duration) float64 { return float64(d.Microseconds()) }
	b.ReportMetric(float64(late[len(late)-1].Milliseconds()), "ms-last")
	b.ReportMetric(float64(late[len(late)/2].Milliseconds()), "ms-p50-late")
	b.ReportMetric(float64(late[len(late)*99/100].Milliseconds()), "ms-p99-late")
	b.ReportMetric(us(quantile(sorted(before), 0.99)), "µs-p99-other-before")
	b.ReportMetric(us(quantile(sorted(during), 0.99)), "µs-p99-other-during")
	b.ReportMetric(0, "ns/op")
	b.Logf("%d rooms: last %v, p50 %v, p99 %v late; another room's actions p50 %v, p99 %v before (%d), p50 %v, p99 %v during (%d)", rooms,
		late[len(late)-1], late[len(late)/2], late[len(late)*99/100], quantile(sorted(before), 0.5), quantile(sorted(before), 0.99), len(before), quantile(sorted(during), 0.5), quantile(sorted(during), 0.99), len(during))
}

func sorted(d []time.Duration) []time.Duration { return slices.Sorted(slices.Values(d)) }

// sleepWithAlarm makes a room, has it set its alarm, and ends its life.
func sleepWithAlarm(b *testing.B, host *room.Host, name string) {
	key := room.Key{Namespace: "ringers", Room: name}
	session, err := host.Connect(context.Background(), key, room.ConnectRequest{Link: &echo{came: make(chan struct{}, 1)}})
	if err == nil {
		err = session.Receive([]byte("set"), true)
	}
	if err != nil {
		b.Error(err)
		return
	}
	session.Close(1000, "")
	if err := host.Sleep(context.Background(), key); err != nil {
		b.Error(err)
	}
}

// echo tells of each frame.
type echo struct{ came chan struct{} }

func (e *echo) Send(frames ...*room.Frame) {
	for range frames {
		e.came <- struct{}{}
	}
}

func (e *echo) Close(int, string) {}
