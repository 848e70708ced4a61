package actor

import (
	"context"
	"log/slog"
	"sync"

	proto "github.com/asynkron/protoactor-go/actor"
)

// scheduler is all that Den uses of protoactor: actors without state, each with a
// mailbox for run tokens. A token is the *life that is to run.
type scheduler struct {
	system  *proto.ActorSystem // of all schedulers
	props   *proto.Props
	workers workers

	keep int // the maximum length of free

	mu   sync.Mutex
	free []*proto.PID // of lives that are over, for the next ones
}

// keepFree is how many protoactor actors are kept for later lives, at 730 B each. With a new one for each
// life, protoactor's registry would grow with the number of lives, because its maps do not shrink.
const keepFree = 256

// system is the one system of protoactor in a process. Its registry of 32,768 maps needs 3 MB and some milliseconds to
// make, which would be most of the cost of a host in a test. Hosts do not affect each other: each sends only to the
// actors that it has spawned.
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
	if schedule == nil { // a Dispatcher gets a new actor for each life, so that runs do not depend on reuse
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

// release takes back the actor of a life that is over. Its run has returned or is about to. A token for
// its next life is served after that.
func (r *scheduler) release(pid *proto.PID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.free) < r.keep {
		r.free = append(r.free, pid)
		return
	}
	r.remove(pid)
}

// close removes the free actors. Lives that are not over remove their own.
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
// not over, so a token never becomes a dead letter.
func (r *scheduler) send(l *life) { r.system.Root.Send(l.pid, l) }

// remove removes an actor from the registry. It does not send a Stop, which would wait in the mailbox:
// an abandoned life still holds its goroutine, and one that ended its goroutine has none. The
// actor has no children, no watchers, and nothing to do at its end.
func (r *scheduler) remove(pid *proto.PID) { r.system.ProcessRegistry.Remove(pid) }

type dispatcher struct{ schedule Dispatcher }

func (d dispatcher) Schedule(run func()) { d.schedule(run) }

// Throughput returns the number of messages after which the mailbox yields the processor.
func (d dispatcher) Throughput() int { return 300 }

// quiet passes protoactor's records on, and turns those below Warn into Debug, because
// protoactor reports at Info that a system was made or that a letter was dead.
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
