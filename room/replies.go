package room

import (
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/replies"
)

// The replies to actions, which are kept for when an action comes again.

// A replyStore has the replies to actions.
type replyStore struct {
	room       *room
	reminding  *reminding
	store      replies.Store
	remembered int       // how many replies of the turn in work are to be kept
	waiting    int       // how many bytes of replies waited before them
	reminded   time.Time // for when the last reminder was noted
}

// find looks for what an action was answered with when it came before.
func (rs *replyStore) find(m *actionMessage) (*hibernate.Frame, replies.State, error) {
	return rs.store.Find(m.key, m.digest, rs.room.now())
}

// write writes the replies that wait into the open batch.
func (rs *replyStore) write() error {
	if rs.store.Pending() == 0 {
		return nil
	}
	now := rs.room.now()
	if err := rs.store.Write(now); err != nil {
		return err
	}
	rs.remind(now)
	return nil
}

// remind adds a reminder for the replies that a life stores at a time, unless the life has added the same one before.
func (rs *replyStore) remind(stored time.Time) {
	if due := contentDue(stored); !due.Equal(rs.reminded) {
		rs.reminded = due
		rs.reminding.at(rs.room.key, due)
	}
}
