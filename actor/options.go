package actor

import (
	"log/slog"
	"time"
)

// Options of a System. The zero value is usable; what is zero or negative gets its
// default.
type Options struct {
	// MailboxSize is how many messages may wait for one actor, those in work not
	// counted. One sender may have as many waiting as it leaves free for others, see Sized. Default 1024.
	MailboxSize int
	// MailboxBytes is how many bytes these messages may keep, shared likewise. An actor for which nothing
	// waits takes any message. Default 16 MiB.
	MailboxBytes int
	// MaxBatch is how many messages one Receive gets at the most, with those that it asks for. Default 256.
	MaxBatch int
	// FirstBatch is how many of them it gets without asking. Default MaxBatch.
	FirstBatch int
	// Admit takes the bytes of a Sized message that was sent, before it is queued, or refuses it with an error, which
	// Send gives. Keep takes those of a message that cannot be refused. Release gives them back, once for each
	// message, just before its reply function is called. They are called with locks held, must not block, and must not call the
	// System. Default: nobody counts.
	Admit   func(bytes int) error
	Keep    func(bytes int)
	Release func(bytes int)
	// Backoff of an actor that keeps breaking.
	Backoff Backoff
	// Now is the clock. Default time.Now. It is called with locks held and must not
	// call the System.
	Now func() time.Time
	// Logger gets what breaks (Error). Default slog.Default(), which also gets protoactor's own messages (Debug, unless they
	// are warnings).
	Logger *slog.Logger
	// Dispatcher schedules the actors' runs. Default: goroutines that are used again.
	Dispatcher Dispatcher
}

// Backoff says how long an actor that keeps breaking stays down.
type Backoff struct {
	// Min is the first delay, doubled for each further failure. Default 100 ms.
	Min time.Duration
	// Max is the longest delay. Default 30 s.
	Max time.Duration
	// Reset is how old a life must have become for its failure to count as the first
	// one again; also, how long after a delay its failures are remembered. Default 10 s.
	Reset time.Duration
}

// A Dispatcher schedules one run of an actor. It must return without running it: it
// is called with locks held. An actor is never given to it again before its last run
// has returned, so a dispatcher that queues the runs and picks one by a seed makes a
// whole system's schedule repeatable.
type Dispatcher func(run func())

func (o *Options) setDefaults() {
	orDefault(&o.MailboxSize, 1024)
	orDefault(&o.MailboxBytes, 16<<20)
	orDefault(&o.MaxBatch, 256)
	orDefault(&o.FirstBatch, o.MaxBatch)
	o.FirstBatch = min(o.FirstBatch, o.MaxBatch)
	orDefault(&o.Backoff.Min, 100*time.Millisecond)
	orDefault(&o.Backoff.Max, 30*time.Second)
	orDefault(&o.Backoff.Reset, 10*time.Second)
	if o.Admit == nil {
		o.Admit = func(int) error { return nil }
	}
	if o.Keep == nil {
		o.Keep = func(int) {}
	}
	if o.Release == nil {
		o.Release = func(int) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

func orDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// delay is how long to stay down after the given number of doublings.
func (b Backoff) delay(doublings int) time.Duration {
	d := b.Min
	for range doublings {
		if d >= b.Max/2 {
			return b.Max
		}
		d *= 2
	}
	return min(d, b.Max)
}
