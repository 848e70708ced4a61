// Package actor runs the lives of rooms. Each key has at most one Behavior at a time.
// It is fed from a bounded inbox in which senders take turns, restarted when it
// fails, and stopped on request.
//
// Actors are virtual, as in Orleans: nobody creates one. The first message to a key
// starts a life. The life lasts until it is stopped, is retired because it has nothing
// to do, or fails. The inbox belongs to the key and not to the life, so messages that
// arrive while one life ends are served by the next, in order.
//
// # Guarantees
//
//   - Single writer: two lives of a key never overlap. The next life's Start is called
//     after the previous life's Stop or failed Start has returned, or, if that life
//     hangs, after its Abandon has returned.
//   - One at a time: a life's methods never run concurrently, except Abandon.
//   - Order: messages of one sender reach Receive in the order in which Send accepted
//     them, also across lives. A refusal loses messages but does not reorder them.
//   - Turns: senders take turns, see Sized. A sender that floods an actor delays only
//     itself. A sender with one short message waiting is served before those with more,
//     but at most sixteen such messages in a row.
//   - Exactly one reply: if Send returned nil, the reply function is called once,
//     whatever happens: an answer, a panic, a failed start, an abandoned life, a
//     shutdown. The only exception is a life that hangs and is never abandoned.
//   - Isolation: a panic, a runtime.Goexit, a hang or a flood in one actor does not
//     affect another.
//   - No leaks: when an actor has stopped, nothing of it remains in memory. (Up to 256 of
//     protoactor's actors wait for the next lives. They are not tied to a key.)
//     An actor that backs off leaves a small record. It counts for Backoff.Reset
//     after the delay, and is removed when other actors come and go later.
//
// # Batches
//
// Receive gets what has queued up while the previous batch was in work, up to
// FirstBatch messages, and may ask for more, up to MaxBatch. So a Behavior that commits
// once per batch has group commit without a timer: at low load a batch is one message,
// and under load it grows. Messages that Receive does not ask for wait, and take turns
// with those that arrive meanwhile.
//
// # Failure
//
// A life fails when Receive returns an error or panics. Then the unanswered messages of
// the batch are answered with an *UnavailableError, the life gets Stop(StopFailed), and
// a new life takes the rest of the inbox at once. Two exceptions put messages back
// into the inbox instead: see ErrRequeue, and for an abandoned life Envelope.Begin.
//
// If a life fails again before it is Backoff.Reset old, its key backs off: what is
// queued is refused, and so is every Send until the delay is over (Min, doubled each
// time, up to Max). The next Send after that starts a life. A failure caused by a sender
// (ErrSpared) does not count. A failed Start always backs off. This package has no
// timers: it reads the time, from Options.Now, when something happens.
//
// # Limits and defaults
//
//	inbox of one actor        Options.MailboxSize   1,024 messages, then ErrOverloaded; see SendOrWait and Push
//	                          Options.MailboxBytes  16 MiB; one sender may have what it leaves free for others
//	messages in one Receive   Options.MaxBatch      256, Options.FirstBatch of them at once
//	back-off                  Options.Backoff       100 ms doubling to 30 s; forgotten after 10 s
//	lives Shutdown stops at once                    64
//
// This package does not limit how long Start, Receive and Stop may take. The
// Behavior's own watchdog does, and calls System.Abandon.
//
// # Concurrency
//
// All methods of System are safe for concurrent use. A Behavior must not call a method
// that waits (Stop, Kill, Shutdown, Request) for its own actor, because it would wait
// for itself. It may call Send.
//
// Scheduling is protoactor-go's, and no other package uses it. Each life is one of its
// actors, and gets a run token when its inbox becomes non-empty. Den has an inbox of
// its own because protoactor's mailbox is unbounded and never shrinks. It has lives
// of its own because protoactor's supervision restarts an actor under the same name with
// the same mailbox.
package actor
