// Package actor runs the rooms' lives: for each key at most one Behavior at a time,
// fed from a bounded inbox in which senders take turns, restarted when it breaks, stopped when asked.
//
// An actor is virtual, as Orleans has it: nobody creates one. The first message to a
// key starts a life, which goes on until it is stopped, is retired when it has nothing to
// do, or breaks. The inbox belongs
// to the key, not to the life, so messages that come while one life ends are served
// by the next, in their order.
//
// # What holds
//
//   - Single writer: two lives of a key never overlap. The next one's Start is called
//     when the last one's Stop has returned; or, for a life that hangs, when its
//     Abandon has returned; or when its Start failed.
//   - One at a time: a life's methods never run concurrently (Abandon excepted).
//   - Order: messages of one sender reach Receive in the order in which Send accepted them, also
//     over a change of lives. A refusal loses messages, it does not reorder them.
//   - Turns: senders take turns, see Sized. One who floods an actor waits for itself; who has one
//     short message waiting is served before those who have more, but for one of theirs after sixteen such messages.
//   - Exactly one reply: where Send returned nil the reply function is called once,
//     whatever happens: answered, panic, failed start, abandon, shutdown. The one way
//     not to get it is a life that hangs and that nobody abandons.
//   - Isolation: a panic, a runtime.Goexit, a hang or a flood in one actor does not
//     touch another one.
//   - Nothing stays: when an actor has stopped, nothing of it is left in memory. (Up to 256 of
//     protoactor's actors, which know nothing of it, wait for the next lives.)
//     Of one that backs off a small record is left; it counts for Reset longer than the
//     delay, and is swept when other actors come and go after that.
//
// # A batch
//
// Receive gets what has queued up while the last batch was in work, up to FirstBatch,
// and asks for more of it as long as it likes, up to MaxBatch. So a Behavior that commits once a batch has group commit with no timer:
// at low load a batch is one message, under load it grows by itself. What it does not ask for waits, and who sends
// something meanwhile takes turns with it.
//
// # Failure
//
// When Receive returns an error or panics, the unanswered messages of that batch are
// answered with an *UnavailableError (or put back, see ErrRequeue; where a life is abandoned, what it has not begun is put
// back, see Envelope.Begin), the life gets Stop(StopFailed), and a new life
// takes the rest of the inbox at once. A life that breaks again before it is
// Backoff.Reset old makes its key back off: what is queued is refused, and so is
// every Send until the delay is over (Min, doubled each time, up to Max). The next
// Send after it starts a life. A failure that is a sender's (ErrSpared) does not count. A failed Start always backs off. There are no timers
// in this package: time is read, from Options.Now, when something happens.
//
// # Limits and defaults
//
//	inbox of one actor        Options.MailboxSize   1,024 messages, then ErrOverloaded; see SendOrWait and Push
//	                          Options.MailboxBytes  16 MiB; one sender may have what it leaves free for others
//	messages in one Receive   Options.MaxBatch      256, Options.FirstBatch of them at once
//	back-off                  Options.Backoff       100 ms doubling to 30 s; forgotten after 10 s
//	lives Shutdown stops at once                    64
//
// How long Start, Receive and Stop may take is not limited here: the Behavior's own
// watchdog knows better, and calls System.Abandon.
//
// # Concurrency
//
// All methods of System are safe from any goroutine. What waits (Stop, Kill,
// Shutdown, Request) must not be called on an actor from its own Behavior: it would
// wait for itself. Send may be.
//
// Scheduling is protoactor-go's: each life is one of its actors, and gets a run token
// when its inbox turns non-empty; no other package knows of it. Its mailbox ring is
// unbounded and never shrinks, hence the inbox of our own; its supervision restarts an
// actor under the same name with its mailbox in place, hence lives of our own.
package actor
