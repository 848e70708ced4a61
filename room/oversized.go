package room

import (
	"fmt"
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// Messages that are too long for the transport to hold. They are answered under their own ids, for
// a client that is told nothing sends the same again, and one that is cut off loses what
// it has in work beside it.

// Oversized answers a message from the client that is longer than limit bytes, of which head is
// the beginning: frame_too_large, to the action or the channel that head shows, and else to the
// connection. A numbered action uses its number up, as any that is refused for good. Otherwise it is as
// Receive.
func (s *Session) Oversized(head []byte, binary bool, limit int64) error {
	refused := &syncproto.Error{Code: syncproto.CodeFrameTooLarge, Message: fmt.Sprintf("The message is longer than %d bytes.", limit), Offset: -1}
	if binary {
		s.conn.Link.Send(hibernate.TextFrame(128, refused.AppendFrame))
		return nil
	}
	m := syncproto.DecodeHead(head)
	refused.Kind, refused.Channel, refused.ID = m.Kind, m.Channel, m.ID
	if m.Kind != syncproto.KindAction || m.Mutation == 0 || m.ID == "" || m.Channel == "" {
		s.conn.Link.Send(hibernate.TextFrame(256, refused.AppendFrame))
		return nil
	}
	action := &actionMessage{
		conn: &s.conn, channel: m.Channel, id: m.ID, client: m.Client, mutation: m.Mutation,
		refused: &Error{Code: refused.Code, Message: refused.Message},
	}
	m.Action = slices.Clone(head) // what it is known again by, if it comes twice
	s.name(action, m)
	return s.take(action)
}
