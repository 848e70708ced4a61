package room

import (
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/replies"
)

// The replies to actions, which are kept in case an action comes again.

// A replyStore stores the replies to actions.
type replyStore struct {
	room       *room
	reminding  *reminding
	store      replies.Store
	remembered int       // how many replies of the turn in work are to be kept
	waiting    int       // how many bytes of replies were pending before them
	reminded   time.Time // the time of the last reminder that was added
}

// find looks up the answer that an action was given when it came before.
func (rs *replyStore) find(m *actionMessage) (*hibernate.Frame, replies.State, error) {
	return rs.store.Find(m.key, m.digest, rs.room.now())
}

// write writes the pending replies into the open batch.
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

// remind adds a reminder for the replies that a life stores at a time, unless the life has already added it.
func (rs *replyStore) remind(stored time.Time) {
	if due := contentDue(stored); !due.Equal(rs.reminded) {
		rs.reminded = due
		rs.reminding.at(rs.room.key, due)
	}
}
