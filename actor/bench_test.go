package actor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
)

// Each benchmark measures its floor in the same run, with the same number of
// operations, and reports how many times as long Den's way takes: protoactor bare, and
// a Go channel to a goroutine.

// quick answers at once, and does nothing besides.
type quick struct{ done chan struct{} }

func (q quick) Start(context.Context, any) error { return nil }

func (q quick) Receive(batch []*Envelope, _ func(int) []*Envelope) error {
	for _, e := range batch {
		e.Reply(nil, nil)
		if e.Message == nil {
			close(q.done)
		}
	}
	return nil
}

func (q quick) Stop(StopReason) {}
func (q quick) Abandon()        {}

func benchSystem(b *testing.B, o Options) (*System, chan struct{}) {
	done := make(chan struct{})
	o.Logger = discard()
	s := NewSystem(func(Key, uint64) Behavior { return quick{done} }, o)
	b.Cleanup(func() { s.Shutdown(context.Background()) })
	return s, done
}

func bareSystem() *proto.ActorSystem {
	return proto.NewActorSystem(proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger {
		return discard()
	}))
}

// measure runs the floors, then Den, and reports the ratios.
func measure(b *testing.B, den func(n int), floors map[string]func(n int)) {
	b.ReportAllocs()
	n := b.N
	took := make(map[string]time.Duration)
	b.StopTimer()
	for name, floor := range floors {
		start := time.Now()
		floor(n)
		took[name] = time.Since(start)
	}
	start := time.Now()
	b.StartTimer()
	den(n)
	b.StopTimer()
	own := time.Since(start)
	for name, t := range took {
		b.ReportMetric(float64(own)/float64(max(t, 1)), "x-"+name)
	}
}

var message any = "message"

// BenchmarkSend: one sender, one actor, until all was served.
func BenchmarkSend(b *testing.B) {
	s, done := benchSystem(b, Options{MailboxSize: 1 << 30})
	measure(b, func(n int) {
		for range n {
			s.Send(key, message, nil)
		}
		s.Send(key, nil, nil)
		<-done
	}, map[string]func(int){"protoactor": bareTell, "channel": channelSend})
}

func bareTell(n int) {
	system := bareSystem()
	done := make(chan struct{})
	pid := system.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
		if ctx.Message() == any(done) {
			close(done)
		}
	}))
	for range n {
		system.Root.Send(pid, message)
	}
	system.Root.Send(pid, done)
	<-done
	system.Root.Stop(pid)
}

func channelSend(n int) {
	in, done := make(chan any, 1024), make(chan struct{})
	go func() { // ends when in is closed
		for range in {
		}
		close(done)
	}()
	for range n {
		in <- message
	}
	close(in)
	<-done
}

// BenchmarkRequest: one requester, one actor, one at a time.
func BenchmarkRequest(b *testing.B) {
	s, _ := benchSystem(b, Options{})
	measure(b, func(n int) {
		ctx := context.Background()
		for range n {
			s.Request(ctx, key, message)
		}
	}, map[string]func(int){"protoactor": bareRequest, "channel": channelRequest})
}

func bareRequest(n int) {
	system := bareSystem()
	pid := system.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
		if ctx.Message() == message {
			ctx.Respond(message)
		}
	}))
	for range n {
		system.Root.RequestFuture(pid, message, time.Minute).Wait()
	}
	system.Root.Stop(pid)
}

func channelRequest(n int) {
	in := make(chan chan any)
	go func() { // ends when in is closed
		for out := range in {
			out <- message
		}
	}()
	for range n {
		out := make(chan any)
		in <- out
		<-out
	}
	close(in)
}

// BenchmarkSpawnStop: one message to a new actor, served, and the actor stopped.
func BenchmarkSpawnStop(b *testing.B) {
	s, _ := benchSystem(b, Options{})
	keys := make([]Key, 1000)
	for i := range keys {
		keys[i] = Key{"rooms", fmt.Sprint(i)}
	}
	measure(b, func(n int) {
		ctx := context.Background()
		for i := range n {
			s.Request(ctx, keys[i%len(keys)], message)
			s.Stop(ctx, keys[i%len(keys)])
		}
	}, map[string]func(int){"protoactor": bareSpawnStop})
}

func bareSpawnStop(n int) {
	system := bareSystem()
	props := proto.PropsFromFunc(func(ctx proto.Context) {
		if ctx.Message() == message {
			ctx.Respond(message)
		}
	})
	for range n {
		pid := system.Root.Spawn(props)
		system.Root.RequestFuture(pid, message, time.Minute).Wait()
		system.Root.StopFuture(pid).Wait()
	}
}

// BenchmarkSendParallel: all processors send to a thousand actors.
func BenchmarkSendParallel(b *testing.B) {
	s, _ := benchSystem(b, Options{MailboxSize: 1 << 30})
	keys := make([]Key, 1000)
	for i := range keys {
		keys[i] = Key{"rooms", fmt.Sprint(i)}
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			s.Send(keys[i%len(keys)], message, nil)
		}
	})
}

// BenchmarkIdle reports how much memory an actor at rest keeps.
func BenchmarkIdle(b *testing.B) {
	s, _ := benchSystem(b, Options{})
	keys := make([]Key, b.N)
	for i := range keys {
		keys[i] = Key{"rooms", fmt.Sprint(i)}
	}
	before := heap()
	b.ResetTimer()
	for _, key := range keys {
		s.Request(context.Background(), key, message)
	}
	b.StopTimer()
	b.ReportMetric((heap()-before)/float64(len(keys)), "B/actor")
	runtime.KeepAlive(keys)
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
