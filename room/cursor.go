package room

import (
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// A client that takes cursors keeps its own place in the room's history, and comes back
// with it. The room remembers nothing of it.
//
// The last frame that a connection gets of a commit has the cursor of that commit. So
// the sender's channel is published last: who has a frame with a cursor has all rows of
// the commit, whichever connection it is.

// tell sends the connections that outlived the room's last life what they were not
// given: a commit can be in the file although that life broke before it had handed it
// out. Those that were never given anything are not in the room yet.
func (l *life) tell() error {
	seq, now := uint64(l.db.Seq()), l.host.opts.Clock.Now()
	lacking := make(map[uint64][]*hibernate.Connection)
	for _, c := range l.connections() {
		mark, h := c.HandedSeq(), heldBy(c)
		switch {
		case !c.Given() || mark == seq:
		case h != nil && !h.over(now):
			if err := l.tellHeld(c, mark); err != nil {
				return err
			}
		default:
			lacking[mark] = append(lacking[mark], c)
		}
	}
	for mark, conns := range lacking {
		frames, refused, err := l.since(mark, nil)
		if err != nil {
			return err
		}
		l.cutAnswers(conns, refused)
		if err := l.hand(conns, frames); err != nil {
			return err
		}
	}
	return nil
}

// tellHeld is tell for a connection that is held: what it is held from stays with the room.
func (l *life) tellHeld(c *hibernate.Connection, mark uint64) error {
	h, now := l.ownHold(c), l.host.opts.Clock.Now()
	for i := range h.channels {
		if channel := &h.channels[i]; h.holds(i, now) && !channel.kept {
			channel.kept = true
			l.lookAgain(c, channel.until)
		}
	}
	frames, refused, err := l.since(mark, h)
	if err != nil {
		return err
	}
	l.cutAnswers([]*hibernate.Connection{c}, refused)
	return l.hand([]*hibernate.Connection{c}, frames)
}

// hand gives frames to connections, which have all that there is then.
func (l *life) hand(conns []*hibernate.Connection, frames []*hibernate.Frame) error {
	if err := l.db.Keep(); err != nil {
		return err
	}
	l.gate.Lock()
	defer l.gate.Unlock()
	for _, c := range conns {
		if !l.fenced {
			c.Link.Send(frames...)
			c.Handed(uint64(l.db.Seq()))
		}
	}
	return nil
}

// since is all channels' changes after a commit, as updates; all there is where the
// commit is not in the history. What h has kept back is left out. refused are the channels of which there is too much: an
// exception says so.
func (l *life) since(mark uint64, h *hold) (frames []*hibernate.Frame, refused []string, err error) {
	for i, channel := range l.ns.channels {
		if h != nil && h.channels[i].kept && !h.channels[i].ended {
			continue
		}
		cursor := ""
		if i == len(l.ns.channels)-1 {
			cursor = l.cursor()
		}
		var more []*hibernate.Frame
		if mark <= uint64(l.db.Seq()) {
			more, err = l.missed(peer{channel: channel, seq: storage.Seq(mark)}, cursor)
		} else {
			more, err = l.resync(channel, cursor)
		}
		if code, _ := ErrorCode(err); code == syncproto.CodeTooLarge {
			more, refused, err = []*hibernate.Frame{exception(channel, err)}, append(refused, channel), nil
		}
		if err != nil {
			return nil, nil, err
		}
		frames = append(frames, more...)
	}
	return frames, refused, nil
}
