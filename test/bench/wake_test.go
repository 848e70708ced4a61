package bench

// What it costs that rooms sleep: the first action in a room that was asleep, and the first
// one in a room that is new.

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

const (
	smallRoom  = 100 // rows of a small room, as it begins
	smallRooms = 20  // that take turns, so that they stay small
)

// BenchmarkWakeOverSocket: one action over a WebSocket, in a room of 100 rows. In turns the
// room is awake, was put to sleep before the action, or is new: then the time is from the
// dial to the reply. What dialing takes by itself, into a room that is awake, is shown too, and
// what it takes to a server that does nothing but accept it. Each begins when the server is done
// with what came before: it goes on after a reply.
func BenchmarkWakeOverSocket(b *testing.B) {
	host, url := den(b)
	n := 0
	act := func(conn *websocket.Conn) {
		n++
		send(b, conn, create(n, text))
		mustSucceed(b, receive(b, conn))
	}
	var clients [smallRooms]*websocket.Conn
	for i := range clients {
		clients[i] = dial(b, fmt.Sprintf("%s/parties/todos/small%d", url, i))
		for range smallRoom {
			act(clients[i])
		}
	}
	took := func(f func()) time.Duration {
		if err := inner.OfHost(host).Quiet(context.Background()); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		f()
		return time.Since(start)
	}
	plain := acceptor(b)
	rooms := 0
	for b.Loop() {
		var awake, wakes, dials, floor, fresh []time.Duration
		for i := range fully(1000, 200) {
			client := clients[i%smallRooms]
			awake = append(awake, took(func() { act(client) }))
			restart(b, host, room.Key{Namespace: todo.Namespace, Room: fmt.Sprint("small", i%smallRooms)})
			wakes = append(wakes, took(func() { act(client) }))
			if i%4 != 0 {
				continue
			}
			var other *websocket.Conn
			dials = append(dials, took(func() { other = dial(b, url+"/parties/todos/small0") }))
			other.CloseNow()
			floor = append(floor, took(func() { other = dial(b, plain) }))
			other.CloseNow()
			rooms++
			at := fmt.Sprintf("%s/parties/todos/new%d", url, rooms)
			fresh = append(fresh, took(func() { act(dial(b, at)) }))
		}
		for _, d := range [][]time.Duration{awake, wakes, dials, floor, fresh} {
			slices.Sort(d)
		}
		a50, w50, d50, f50 := quantile(awake, 0.5), quantile(wakes, 0.5), quantile(dials, 0.5), quantile(fresh, 0.5)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(a50.Microseconds()), "awake-p50-µs")
		b.ReportMetric(float64(quantile(awake, 0.99).Microseconds()), "awake-p99-µs")
		b.ReportMetric(float64(w50.Microseconds()), "wake-p50-µs")
		b.ReportMetric(float64(quantile(wakes, 0.99).Microseconds()), "wake-p99-µs(≤2000)")
		b.ReportMetric(float64(w50)/float64(a50), "wake-ratio(≤2.5)")
		b.ReportMetric(float64(d50.Microseconds()), "dial-p50-µs")
		b.ReportMetric(float64(quantile(floor, 0.5).Microseconds()), "dial-floor-p50-µs")
		b.ReportMetric(float64(f50.Microseconds()), "new-p50-µs")
		b.ReportMetric(float64(f50)/float64(a50), "new-ratio(≤3)")
		b.ReportMetric(float64(f50-d50)/float64(a50), "new-ratio-without-dial")
	}
}

// acceptor is a server that accepts WebSockets and does nothing with them.
func acceptor(b *testing.B) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := websocket.Accept(w, r, nil); err == nil {
			conn.Read(r.Context())
		}
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// restart ends a room's life, as sleep does.
func restart(b *testing.B, host *room.Host, key room.Key) {
	b.Helper()
	if err := host.Sleep(context.Background(), key); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWakeSteps: where the time of a wake goes, without a socket: the start, the first
// action, the second, the stop after it, and the stop of a life that changed nothing; then
// the same of a room that is new.
func BenchmarkWakeSteps(b *testing.B) {
	host := openHost(b, durable)
	var old [smallRooms]*seat
	for i := range old {
		old[i] = sit(b, host, fmt.Sprint("small", i))
		old[i].work(old[i].prepare(smallRoom), 1)
	}
	rooms := 0
	for b.Loop() {
		var steps wakeSteps
		for i := range fully(500, 100) {
			steps.wake(b, host, fmt.Sprint("small", i%smallRooms), old[i%smallRooms])
			rooms++
			steps.create(b, host, fmt.Sprint("new", rooms))
		}
		b.ReportMetric(0, "ns/op")
		for _, s := range steps {
			b.ReportMetric(float64(median(s.took).Nanoseconds())/1000, s.name+"-µs")
		}
	}
}

// wakeSteps are the times of each step, in the order of their first time.
type wakeSteps []*wakeStep

type wakeStep struct {
	name string
	took []time.Duration
}

func (w *wakeSteps) measure(name string, f func()) {
	start := time.Now()
	f()
	took := time.Since(start)
	i := slices.IndexFunc(*w, func(s *wakeStep) bool { return s.name == name })
	if i < 0 {
		i = len(*w)
		*w = append(*w, &wakeStep{name: name})
	}
	(*w)[i].took = append((*w)[i].took, took)
}

func (w *wakeSteps) wake(b *testing.B, host *room.Host, name string, s *seat) {
	key := room.Key{Namespace: todo.Namespace, Room: name}
	settle(b, host, key)
	restart(b, host, key)
	w.measure("start", func() { settle(b, host, key) })
	messages := s.prepare(2)
	w.measure("first", func() { s.work(messages[:1], 1) })
	w.measure("second", func() { s.work(messages[1:], 1) })
	w.measure("stop", func() { restart(b, host, key) })
	settle(b, host, key)
	w.measure("stop-unchanged", func() { restart(b, host, key) })
}

func (w *wakeSteps) create(b *testing.B, host *room.Host, name string) {
	key := room.Key{Namespace: todo.Namespace, Room: name}
	w.measure("new-start", func() { settle(b, host, key) })
	s := sit(b, host, name)
	messages := s.prepare(1)
	w.measure("new-first", func() { s.work(messages, 1) })
	w.measure("new-stop", func() { restart(b, host, key) })
	s.session.Close(1000, "")
}

// BenchmarkWakeLongHistory: from the message to the reply, without a socket, of a room that slept
// and that keeps all the replies that it may, 1 MiB of them, each written for itself. The floor is a
// room with the same history which keeps hardly any.
func BenchmarkWakeLongHistory(b *testing.B) {
	const rooms, history = 4, 4500 // of some 300 bytes each
	o := hostOptions(b, durable)
	o.ReplyMemory = 4 << 10
	hosts := [...]*room.Host{openHostWith(b, o, todo.Register), openHost(b, durable)}
	var seats [len(hosts)][rooms]*seat
	var all sync.WaitGroup
	for h, host := range hosts {
		for i := range rooms {
			s := sit(b, host, fmt.Sprint("small", i))
			seats[h][i] = s
			all.Go(func() {
				s.work(s.prepare(smallRoom), 1)
				s.work(s.update(history), 1)
			})
		}
	}
	all.Wait()
	for b.Loop() {
		var took [len(hosts)][]time.Duration
		for i := range fully(500, 100) {
			for h, host := range hosts {
				s := seats[h][i%rooms]
				restart(b, host, s.session.Key())
				message := s.update(1)
				start := time.Now()
				s.work(message, 1)
				took[h] = append(took[h], time.Since(start))
			}
		}
		few, full := median(took[0]), median(took[1])
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(few.Nanoseconds())/1000, "few-replies-µs")
		b.ReportMetric(float64(full.Nanoseconds())/1000, "full-store-µs")
		b.ReportMetric(float64(full)/float64(few), "full-to-few-ratio(≤1.2)")
	}
}

// update makes messages that change the todos of a small room, one after another.
func (s *seat) update(actions int) [][]byte {
	messages := make([][]byte, actions)
	for i := range messages {
		s.n++
		m := bytes.Replace(create(s.n, text), []byte(`"create"`), []byte(`"update"`), 1)
		messages[i] = bytes.Replace(m, fmt.Appendf(nil, `"t%07d"`, s.n), fmt.Appendf(nil, `"t%07d"`, 1+s.n%smallRoom), 1)
	}
	return messages
}

func settle(b *testing.B, host *room.Host, key room.Key) {
	b.Helper()
	if err := inner.OfHost(host).Settle(context.Background(), key); err != nil {
		b.Fatal(err)
	}
}
