package room

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/denrooms/den/hibernate"
)

// Presence returns what the client shows to the others at the moment, as JSON. It is nil if the client takes no part,
// and in OnClose. It may change while the hook runs. It must not be modified.
func (c *Conn) Presence() json.RawMessage { return c.c.Presence() }

// Presence shows clients to each other under an id that stays the same over a client's reconnects. The connection's
// own id is not shown. Whoever knew it could connect with it, as the same user or where nobody signs in, and would be
// sent what that client missed and the replies to its actions.

// presenceIDBytes is how much of the hash is shown.
const presenceIDBytes = 12

// presenceID returns a hash of a connection's user and id, with the room's epoch as the key. Clients know the first
// half of the epoch, which is in cursors, and nothing of the other 64 bits.
func (r *room) presenceID(conn *hibernate.Connection) string {
	key, err := hex.DecodeString(r.db.Epoch())
	if err != nil {
		key = []byte(r.db.Epoch())
	}
	subject, id := conn.Identity.Subject, conn.ID()
	text := binary.AppendUvarint(nil, uint64(len(subject)))
	text = append(append(text, subject...), id...)
	mac := hmac.New(sha256.New, key)
	mac.Write(text)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:presenceIDBytes])
}

// PresenceID is the id under which [Presence] shows the client to others: 16 characters of A-Z, a-z, 0-9, - and _. It
// stays the same while the client keeps its user and its connection's ID, also over restarts of the server, and
// differs from room to room. A restore of the room changes it. The ID cannot be derived from it.
func (c *Conn) PresenceID() string { return c.ctx.room.presenceID(c.c) }
