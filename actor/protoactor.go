package actor

import (
	"context"
	"log/slog"
	"sync"

	proto "github.com/asynkron/protoactor-go/actor"
)

// scheduler is all that Den uses of protoactor: actors that hold no state, each with a
// mailbox that gets run tokens. A token is the *life that is to run.
type scheduler struct {
	system  *proto.ActorSystem // of all schedulers
	props   *proto.Props
	workers workers

	keep int // how many may be free

	mu   sync.Mutex
	free []*proto.PID // of lives that are over, for the next ones
}

// keepFree is how many protoactor actors wait for another life, at 730 B each. Making one for each
// life would grow protoactor's registry with the number of lives, for its maps don't shrink.
const keepFree = 256

// system is the one system of protoactor in a process. Its registry of 32,768 maps takes 3 MB and some milliseconds to make, which
// would be most of what a host costs in a test. Hosts do not meet in it: each sends to the actors that it has spawned.
var system = sync.OnceValue(func() *proto.ActorSystem {
	logger := slog.New(quiet{slog.Default().Handler()}).With("lib", "protoactor")
	return proto.NewActorSystem(proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger { return logger }))
})

func newScheduler(o Options) *scheduler {
	r := &scheduler{
		system: system(),
		props: proto.PropsFromFunc(func(ctx proto.Context) {
			if l, ok := ctx.Message().(*life); ok {
				l.run()
			}
		}),
	}
	schedule := o.Dispatcher
	if schedule == nil { // else each life has runs of its own, or chance would say whether two share one
		schedule, r.keep = r.workers.schedule, keepFree
	}
	r.props.Configure(proto.WithDispatcher(dispatcher{schedule}))
	return r
}

func (r *scheduler) spawn() *proto.PID {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.free); n > 0 {
		pid := r.free[n-1]
		r.free = r.free[:n-1]
		return pid
	}
	return r.system.Root.Spawn(r.props)
}

// release takes an actor back whose life is over and whose run has returned, or is about to: what
// it is sent for its next life comes behind that.
func (r *scheduler) release(pid *proto.PID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free) < r.keep {
		r.free = append(r.free, pid)
		return
	}
	r.remove(pid)
}

// close forgets the actors that wait. Those of lives that are not over are forgotten by them.
func (r *scheduler) close() {
	r.workers.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pid := range r.free {
		r.remove(pid)
	}
	r.free = nil
}

// send makes l run once, later. The caller holds the cell's lock and knows that l is
// not over: so no token ever becomes a dead letter.
func (r *scheduler) send(l *life) { r.system.Root.Send(l.pid, l) }

// remove forgets an actor. It is not sent a Stop, which would wait in its mailbox:
// a life that was abandoned still holds its goroutine, and one that ended its goroutine
// has none. It has no children, no watchers, and nothing to do at its end.
func (r *scheduler) remove(pid *proto.PID) { r.system.ProcessRegistry.Remove(pid) }

type dispatcher struct{ schedule Dispatcher }

func (d dispatcher) Schedule(run func()) { d.schedule(run) }

// Throughput is after how many messages the mailbox yields the processor.
func (d dispatcher) Throughput() int { return 300 }

// quiet passes protoactor's records on, with those under Warn turned into Debug: it
// reports at Info that a system was made, or a letter was dead.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, quieted(level))
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = quieted(r.Level)
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }

func quieted(level slog.Level) slog.Level {
	if level < slog.LevelWarn {
		return min(level, slog.LevelDebug)
	}
	return level
}
