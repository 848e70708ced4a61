package room

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// Presence gives a namespace's rooms presence: what a client sends as {"presence": …}, any JSON
// of at most 16 KiB, is shown to all clients of the room who take part, which those do who
// have sent one themselves, beside an id, see [Conn.PresenceID]. It is for what matters only while somebody is there: a cursor, a
// name, that somebody types. It lives with the connection: neither the room sees it come nor
// the database, it wakes no room that sleeps, outlives sleep and crashes of the room, and
// ends with the connection. A client that reads slowly gets the newest of each, and not what came between. Handlers read it with [Conn.Presence]. A room's clients have
// 8 MiB of it together. Without this option such a message is the room's own, for OnMessage.
// (The form, a map of peers, is that of Liveblocks.)
func Presence() Option {
	return func(ns *namespace) error {
		ns.presence = true
		return nil
	}
}

// Presence is what the client shows to the others at the moment, as JSON; nil if it takes no
// part, and in OnClose. It changes while the hook runs. It must not be changed.
func (c *Conn) Presence() json.RawMessage { return c.c.Presence() }

// show is Receive of a presence.
func (s *Session) show(value presenceMessage) error {
	if s.isOver() {
		return ErrSessionOver
	}
	s.mu.Lock()
	shownAs := s.rare().shownAs
	s.mu.Unlock()
	err := s.ns.host.presence.Show(hibernate.Key(s.Key()), &s.conn, shownAs, json.RawMessage(value))
	switch {
	case errors.Is(err, hibernate.ErrPresenceTooLarge):
		err = &Error{Code: syncproto.CodeTooLarge, Message: "A client's presence has at most 16384 bytes.", cause: err}
	case errors.Is(err, hibernate.ErrPresenceFull):
		err = &Error{Code: syncproto.CodeOverloaded, Message: "The room's clients show too much already.", cause: err}
	}
	if err != nil {
		s.conn.Link.Send(refusal(value, err))
		return nil
	}
	s.spendShown(len(value))
	return nil
}

// Presence shows clients to each other under an id that stays the same over a client's reconnects.
// A connection's own id is not shown: who knows it, and comes with it as the same user or where nobody
// signs in, is sent what that client missed, and twice the same action's reply.

// presenceIDBytes is how much of the hash is shown.
const presenceIDBytes = 12

// presenceID is a hash of a connection's user and id under the room's epoch as the key. Clients know the first half
// of the epoch, which is in cursors, and nothing of the other 64 bits.
func (l *life) presenceID(conn *hibernate.Connection) string {
	key, err := hex.DecodeString(l.db.Epoch())
	if err != nil {
		key = []byte(l.db.Epoch())
	}
	subject, id := conn.Identity.Subject, conn.ID()
	text := binary.AppendUvarint(nil, uint64(len(subject)))
	text = append(append(text, subject...), id...)
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:presenceIDBytes])
}

// PresenceID is the id under which [Presence] shows the client to others: 16 characters of
// A-Z, a-z, 0-9, - and _. It is the same as long as the client keeps its user and its connection's ID, over restarts of the server
// too, and differs from room to room. A restore of the room changes it. Nobody can find the ID from it.
func (c *Conn) PresenceID() string { return c.ctx.life.presenceID(c.c) }
