package actor

import (
	"log/slog"
	"time"
)

// Options are the options of a System. A field that is zero or negative has its default.
type Options struct {
	// MailboxSize is the number of messages that may wait for one actor, not counting
	// those in work. One sender may have as many waiting as it leaves free for others,
	// see Sized. Default 1024.
	MailboxSize int
	// MailboxBytes is the number of bytes that these messages may have, shared in the
	// same way. An actor for which nothing waits accepts any message. Default 16 MiB.
	MailboxBytes int
	// MaxBatch is the maximum number of messages of one Receive, including those that it
	// asks for. Default 256.
	MaxBatch int
	// FirstBatch is the maximum number of them that it gets without asking. Default MaxBatch.
	FirstBatch int
	// Admit counts the bytes of a Sized message before it is queued, or refuses the
	// message with an error, which Send returns. Keep counts those of a message that
	// cannot be refused. Release gives them back, once for each message, just before its
	// reply function is called. They are called with locks held, must not block, and must
	// not call the System. Default: bytes are not counted.
	Admit   func(bytes int) error
	Keep    func(bytes int)
	Release func(bytes int)
	// Backoff is for actors that fail again and again.
	Backoff Backoff
	// Now is the clock. It is called with locks held and must not call the System.
	// Default time.Now.
	Now func() time.Time
	// Logger receives failures, at Error. Default slog.Default(). That logger also
	// receives protoactor's own messages, at Debug unless they are warnings.
	Logger *slog.Logger
	// Dispatcher schedules the actors' runs. Default: pooled goroutines.
	Dispatcher Dispatcher
}

// Backoff says how long an actor that fails again and again stays down.
type Backoff struct {
	// Min is the first delay. It is doubled for each further failure. Default 100 ms.
	Min time.Duration
	// Max is the longest delay. Default 30 s.
	Max time.Duration
	// Reset is the age from which a life's failure counts as the first one again. It is
	// also how long after a delay an actor's failures are remembered. Default 10 s.
	Reset time.Duration
}

// A Dispatcher schedules one run of an actor. It must return without running it,
// because it is called with locks held. It gets an actor again only after that actor's
// last run has returned. So a dispatcher that queues the runs and picks one by a seed
// makes the schedule of a whole system repeatable.
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

// delay returns the delay after the given number of doublings.
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
