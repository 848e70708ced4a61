package room

// How Den gives up an action that never succeeds, so that it does not stop the actions after it. If an action of a
// numbered client takes too long, panics or loses its batch, it may succeed the next time, so it keeps its number.
// After three such tries its outcome is poisoned, which is stored like any other outcome, and the next number runs.
//
//	_den_tries(client, subject, mutation, digest, tries, at)
//
//	mutation  the number that was tried last
//	digest    of that action; another one under the same number is counted from the start // of that action; another action under the same number is counted from 1
//	tries     how many of its tries have failed
//	at        when the last one did, Unix milliseconds // when the last one failed, Unix milliseconds
//
// A client has at most one row, for its last number that failed like this. A hook that hangs ends its life without a
// commit. The host remembers that try, and writes it to the table in a transaction of its own before the next turn
// that serves the client.

import (
	"errors"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// maxTries is how often a numbered action is tried that takes too long, panics or loses its batch.
const maxTries = 3

func poisoned() error {
	return &Error{Code: syncproto.CodePoisoned, Message: "The action failed each time that it was tried, and was given up. Nothing was changed."}
}

// A verdict is what a failure means for an action's number.
type verdict uint8

const (
	verdictKept  verdict = iota // no outcome: the action did not cause the failure
	verdictTried                // it may succeed the next time; given up after maxTries
	verdictUsed                 // it would fail again: the failure is the outcome
)

// judge returns what the failure of an action means for its number.
func judge(err error) verdict {
	code, _ := ErrorCode(err)
	_, panicked := errors.AsType[*panicError](err)
	lost := errors.Is(err, storage.ErrBatchLost)
	switch {
	case errors.Is(err, storage.ErrClosed), storageFailed(err):
		return verdictKept
	case panicked, code == syncproto.CodeActionTimeout, code == syncproto.CodeAborted && lost:
		return verdictTried
	case code.Retryable():
		return verdictKept
	}
	return verdictUsed
}

// tryAgain returns the error that a client gets for a failed try if others may follow.
func tryAgain(err error) error {
	if code, _ := ErrorCode(err); code.Retryable() {
		return err
	}
	return &Error{Code: syncproto.CodeAborted, Message: "The action failed. Nothing was changed. Try again.", cause: err}
}

const addTries = `INSERT INTO _den_tries (client, subject, mutation, digest, tries, at) VALUES (?, ?, ?, ?, ?, ?)
	ON CONFLICT DO UPDATE SET tries = excluded.tries + iif(mutation = excluded.mutation AND digest = excluded.digest, tries, 0),
		mutation = excluded.mutation, digest = excluded.digest, at = excluded.at`

// countTry counts a try of an action in the turn's batch, and returns how many there have been.
func (nb *numbers) countTry(t *turn, m *actionMessage) (tries int, err error) {
	if err := t.begin(); err != nil {
		return 0, err
	}

	_, err = nb.room.db.Internal().Exec(addTries, m.client, m.conn.Identity.Subject, int64(m.mutation), m.digest[:], 1, nb.room.now().UnixMilli())
	if err != nil {
		return 0, err
	}
	return nb.triesOf(m)
}

// triesOf returns how many tries of an action have failed.
func (nb *numbers) triesOf(m *actionMessage) (tries int, err error) {
	_, err = nb.room.db.Internal().First(func(row *storage.Rows) { tries = int(row.Int(0)) },
		`SELECT tries FROM _den_tries WHERE client = ? AND subject = ? AND mutation = ? AND digest = ?`,
		m.client, m.conn.Identity.Subject, int64(m.mutation), m.digest[:])
	return tries, err
}

// countHangs writes the tries that hung in earlier lives, for the clients in a batch.
func (nb *numbers) countHangs(batch []*actor.Envelope) error {
	if nb.room.node.recent.hangs.None() {
		return nil
	}
	for _, env := range batch {
		m, is := env.Message.(*actionMessage)
		if !is || m.mutation == 0 {
			continue
		}
		of := nb.room.numberedBy(m)
		last, there := nb.room.node.recent.hangs.Of(of)
		if !there {
			continue
		}
		if more := last.Tries - last.Counted; more > 0 {
			_, err := nb.room.db.Internal().Exec(addTries, of.ID, of.Subject, int64(last.Mutation), last.Digest[:], more, nb.room.now().UnixMilli())
			if err != nil {
				return err
			}
			nb.room.node.recent.hangs.Count(of)
		}
		at, err := nb.markOf(of.ID, of.Subject)
		if err != nil {
			return err
		}
		at.hung = true
	}
	return nil
}

// wasTried reports whether any number of a client was tried without success.
func (nb *numbers) wasTried(client, subject string) (bool, error) {
	return nb.room.db.Internal().First(nil, `SELECT 1 FROM _den_tries WHERE client = ? AND subject = ?`, client, subject)
}
