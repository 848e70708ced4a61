package bench

// The hosts whose commits are compared, and a client without a socket.

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
)

// A mode is how a host's commits reach the disk.
type mode string

const (
	durable  mode = "durable"  // by the node's commit log
	full     mode = "full"     // each room by itself, with synchronous=FULL
	unlogged mode = "unlogged" // synchronous=NORMAL and no log: a power cut may take the newest
)

// hostOptions are those of a host of a mode, in a directory of its own.
func hostOptions(b *testing.B, m mode) room.Options {
	b.Helper()
	o := room.Options{Dir: b.TempDir(), Logger: quiet}
	switch m {
	case durable:
		o.Durability = room.Durable
	case full:
		o.Durability = room.DurableFiles
	case unlogged:
		o.Durability = room.Unsynced
	}
	return o
}

// openHost is a host with the todo fixture and nothing in front of it.
func openHost(b *testing.B, m mode) *room.Host {
	b.Helper()
	return openHostWith(b, hostOptions(b, m), todo.Register)
}

func openHostWith(b *testing.B, o room.Options, register func(*room.Host) error) *room.Host {
	b.Helper()
	host, err := room.Open(o)
	if err == nil {
		err = register(host)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { shutdown(b, host) })
	return host
}

func shutdown(b *testing.B, host *room.Host) {
	b.Helper()
	if err := host.Shutdown(context.Background()); err != nil {
		b.Error(err)
	}
}

// text is that of the todos, as long as people write them.
var text = strings.Repeat("x", 100)

// A seat is a client in a room, alone and without a socket. It is its own link.
type seat struct {
	b       *testing.B
	session *room.Session
	replies chan struct{}
	n       int // actions so far
}

func sit(b *testing.B, host *room.Host, name string) *seat {
	b.Helper()
	s := &seat{b: b, replies: make(chan struct{}, 1024)}
	session, err := host.Connect(context.Background(), room.Key{Namespace: todo.Namespace, Room: name},
		room.ConnectRequest{ID: "bench", Link: s})
	if err != nil {
		b.Fatal(err)
	}
	s.session = session
	return s
}

// Send is called by the room with replies; there is nobody else whose changes it could send.
func (s *seat) Send(frames ...*room.Frame) {
	for _, f := range frames {
		if !bytes.Contains(f.Payload(), []byte(`"type":"success"`)) {
			s.b.Errorf("the reply was %.200s", f.Payload())
		}
		s.replies <- struct{}{}
	}
}

// Close is called by the room when it shuts down.
func (s *seat) Close(int, string) {}

// prepare makes messages that create a todo each.
func (s *seat) prepare(actions int) [][]byte {
	messages := make([][]byte, actions)
	for i := range messages {
		s.n++
		messages[i] = create(s.n, text)
	}
	return messages
}

// work has the room apply messages, so many of them in flight.
func (s *seat) work(messages [][]byte, inFlight int) {
	for i, m := range messages {
		if i >= inFlight {
			<-s.replies
		}
		if err := s.session.Receive(m, false); err != nil {
			s.b.Error(err)
			return
		}
	}
	for range min(inFlight, len(messages)) {
		<-s.replies
	}
}

// median of durations, which it sorts.
func median(durations []time.Duration) time.Duration {
	slices.Sort(durations)
	return quantile(durations, 0.5)
}

// perSecond is a rate of n things that took so long.
func perSecond(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }
