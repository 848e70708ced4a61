package bench

// One operation after another, with no floor beside it. `make compare` runs these at two commits: what the process
// does in a run (its time, its allocations, its system calls, the bytes that it writes) is then the work of Den and
// of a client that never changes. Elsewhere in this package half of that is the floor's.
//
// A benchmark here does b.N operations of one kind. It allocates next to nothing of its own, writes no files of its
// own, and reports quantiles of an operation's time, because one late sync moves a mean by more than 3 %. An operation
// takes a millisecond at most: so on a busy machine some are still not interrupted.

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// A stopwatch takes the time of each operation.
type stopwatch struct{ took []time.Duration }

// newStopwatch has memory for more operations than a run does, so that the stopwatch allocates nothing meanwhile.
func newStopwatch() *stopwatch { return &stopwatch{make([]time.Duration, 0, 1<<16)} }

func (w *stopwatch) time(f func()) {
	start := time.Now()
	f()
	w.took = append(w.took, time.Since(start))
}

// report replaces the mean, which holds what was not timed too. p2 is what an operation takes when nothing comes in
// its way.
func (w *stopwatch) report(b *testing.B) {
	sorted := sorted(w.took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(quantile(sorted, 0.02).Nanoseconds())/1000, "p2-µs")
	b.ReportMetric(float64(quantile(sorted, 0.5).Nanoseconds())/1000, "p50-µs")
}

// createMessage is what [create] makes, in one allocation.
func createMessage(n int) []byte { return message("create", n, n) }

// message is an action on the todo with a number.
func message(kind string, n, todo int) []byte {
	return fmt.Appendf(make([]byte, 0, 256), `{"id":"a%07d","channel":"todos","rpc":true,"action":{"type":"%s","payload":{"id":"t%07d","text":"%s","completed":0}}}`,
		n, kind, todo, text)
}

// one has the room apply a message, and waits for the reply.
func (s *seat) one(message []byte) {
	if err := s.session.Receive(message, false); err != nil {
		s.b.Error(err)
		return
	}
	<-s.replies
}

// BenchmarkPlainCommit: an action that inserts a row of 100 bytes, durable, one at a time, without a socket.
func BenchmarkPlainCommit(b *testing.B) {
	s := sit(b, openHost(b, durable), "bench")
	watch, n := newStopwatch(), 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		m := createMessage(n)
		watch.time(func() { s.one(m) })
	}
	watch.report(b)
}

// BenchmarkPlainUpdate: an action that changes a row of 100 bytes, durable, one at a time, in a room of 100 rows.
func BenchmarkPlainUpdate(b *testing.B) {
	s := sit(b, openHost(b, durable), "bench")
	s.work(s.prepare(smallRoom), 1)
	watch := newStopwatch()
	b.ReportAllocs()
	for b.Loop() {
		s.n++
		m := message("update", s.n, 1+s.n%smallRoom)
		watch.time(func() { s.one(m) })
	}
	watch.report(b)
}

// BenchmarkPlainManyRooms: 16 rooms with 4 actions in flight in each. An operation is 64 actions.
func BenchmarkPlainManyRooms(b *testing.B) {
	const rooms, each, inFlight = 16, 4, 4
	host := openHost(b, durable)
	var seats [rooms]*seat
	for i := range seats {
		seats[i] = sit(b, host, fmt.Sprint("room", i))
		seats[i].work([][]byte{createMessage(0)}, 1)
	}
	watch, n := newStopwatch(), 0
	done := make(chan struct{})
	b.ReportAllocs()
	for b.Loop() {
		from := n
		n += each
		watch.time(func() {
			for _, s := range seats {
				go func() { s.flight(from, each, inFlight); done <- struct{}{} }() // ends with its last reply
			}
			for range seats {
				<-done
			}
		})
	}
	watch.report(b)
}

// flight has the room apply so many messages with the numbers after from.
func (s *seat) flight(from, messages, inFlight int) {
	for i := range messages {
		if i >= inFlight {
			<-s.replies
		}
		if err := s.session.Receive(createMessage(from+i+1), false); err != nil {
			s.b.Error(err)
			return
		}
	}
	for range min(inFlight, messages) {
		<-s.replies
	}
}

// BenchmarkPlainOneRoom: one room with 64 actions in flight. An operation is 64 actions.
func BenchmarkPlainOneRoom(b *testing.B) {
	const actions, inFlight = 64, 64
	s := sit(b, openHost(b, durable), "bench")
	watch, n := newStopwatch(), 0
	b.ReportAllocs()
	for b.Loop() {
		watch.time(func() { s.flight(n, actions, inFlight) })
		n += actions
	}
	watch.report(b)
}

// BenchmarkPlainSocket: an action that inserts a row, one at a time, from a socket to the reply.
func BenchmarkPlainSocket(b *testing.B) {
	_, url := den(b)
	client := dial(b, url+"/parties/todos/bench")
	watch, n := newStopwatch(), 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		m := createMessage(n)
		watch.time(func() {
			send(b, client, m)
			mustSucceed(b, receive(b, client))
		})
	}
	watch.report(b)
}

// BenchmarkPlainFanOut: an action in a room with 50 more sockets, until the last of them has the row.
func BenchmarkPlainFanOut(b *testing.B) {
	const others = 50
	_, url := den(b)
	client := dial(b, url+"/parties/todos/bench")
	arrived := make(chan error, others)
	for i := range others {
		other := dial(b, fmt.Sprintf("%s/parties/todos/bench?_pk=other%d", url, i))
		send(b, other, []byte(`{"channel":"todos","sync":true,"from":null}`))
		receive(b, other)
		go listen(other, arrived) // ends when the benchmark's sockets are closed
	}
	watch, n := newStopwatch(), 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		m := createMessage(n)
		watch.time(func() {
			send(b, client, m)
			mustSucceed(b, receive(b, client))
			for range others {
				if err := <-arrived; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	watch.report(b)
}

// listen tells of each message that arrives, and of the end.
func listen(conn *websocket.Conn, arrived chan<- error) {
	for {
		_, _, err := conn.Read(context.Background())
		arrived <- err
		if err != nil {
			return
		}
	}
}

// BenchmarkPlainResume: a client that is 100 rows behind, in a table of 20,000 rows. Before each time a row is
// changed, so that nothing is served from a cache.
func BenchmarkPlainResume(b *testing.B) {
	const rows, behind = 20_000, 100
	k := keep(b, openHostWith(b, hostOptions(b, durable), registerShelf), rows)
	var cursors [behind]string // of the newest actions, the oldest at next
	touch := func(next int) {
		k.touched += 7919 // all over the table
		k.do("touch", map[string]any{"id": k.touched % k.rows})
		cursors[next] = k.cursor
	}
	for i := range cursors {
		touch(i)
	}
	watch, next := newStopwatch(), 0
	b.ReportAllocs()
	for b.Loop() {
		from := cursors[next]
		touch(next)
		next = (next + 1) % behind
		watch.took = append(watch.took, k.resume(from, behind))
	}
	watch.report(b)
}

// BenchmarkPlainFirstSync: the first sync of 1,000 rows over a socket, to the last byte of the last page. Before each
// time a row is added, so that nothing is served from a cache.
func BenchmarkPlainFirstSync(b *testing.B) {
	const rows = 1_000
	host, url := den(b)
	s := sit(b, host, "rows")
	s.flight(0, rows, 256)
	s.session.Close(1000, "")
	client := dial(b, url+"/parties/todos/rows")
	ask := []byte(`{"channel":"todos","sync":true,"from":null}`)
	watch, n := newStopwatch(), rows
	b.ReportAllocs()
	for b.Loop() {
		n++
		send(b, client, createMessage(n))
		mustSucceed(b, receive(b, client))
		watch.time(func() { readSync(b, client, ask, rows*len(text)) })
	}
	watch.report(b)
}

// BenchmarkPlainWake: the first action in a room of 100 rows that was asleep, without a socket.
func BenchmarkPlainWake(b *testing.B) {
	host := openHost(b, durable)
	var seats [smallRooms]*seat
	for i := range seats {
		seats[i] = sit(b, host, fmt.Sprint("small", i))
		seats[i].flight(0, smallRoom, 16)
		seats[i].n = smallRoom
	}
	watch, i := newStopwatch(), 0
	b.ReportAllocs()
	for b.Loop() {
		s := seats[i%smallRooms]
		i++
		restart(b, host, s.session.Key())
		s.n++
		m := message("update", s.n, 1+s.n%smallRoom)
		watch.time(func() { s.one(m) })
	}
	watch.report(b)
}

// BenchmarkPlainNewRoom: a connection to a room that is new, and its first action, without a socket.
func BenchmarkPlainNewRoom(b *testing.B) {
	host := openHost(b, durable)
	watch, rooms := newStopwatch(), 0
	m := createMessage(1)
	b.ReportAllocs()
	for b.Loop() {
		rooms++
		name := fmt.Sprint("new", rooms)
		var s *seat
		watch.time(func() {
			s = sit(b, host, name)
			s.one(m)
		})
		s.session.Close(1000, "")
		restart(b, host, room.Key{Namespace: todo.Namespace, Room: name})
	}
	watch.report(b)
}

// BenchmarkPlainDecode: an action's message is read. An operation is 100 of them.
func BenchmarkPlainDecode(b *testing.B) {
	m := createMessage(1)
	watch := newStopwatch()
	b.ReportAllocs()
	for b.Loop() {
		watch.time(func() {
			for range 100 {
				if _, err := syncproto.Decode(m, syncproto.DecodeOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	watch.report(b)
}
