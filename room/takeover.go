package room

import (
	"slices"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// One client id in two places: two tabs that share their storage, or a connection that has come back
// while the server holds the old one for alive. Two that send the same queue would take each other's numbers,
// so the younger connection takes the queue over and the older is told to stop. Who owns a client is
// found from its connections, and so it outlives the room's sleep.

// takeOver makes conn the connection over which the client of at sends, or refuses its action because a
// younger connection is that. Replies that were given before are not its business.
func (t *turn) takeOver(at *mark, conn *hibernate.Connection) error {
	if at.owner == conn {
		return nil
	}
	all := t.life.connections()
	owner := at.owner
	if owner == nil || !slices.Contains(all, owner) {
		owner = youngest(all, at)
	}
	if owner != nil && owner.Serial > conn.Serial {
		at.owner = owner
		return &Error{Code: syncproto.CodeClientTaken, Message: "This client sends its actions over a younger connection."}
	}
	at.owner = conn
	conn.SetNumbers(at.client)
	return nil
}

// youngest gives the youngest connection over which a client has sent, or nil.
func youngest(all []*hibernate.Connection, at *mark) (found *hibernate.Connection) {
	for _, c := range all {
		if c.Numbers() == at.client && c.Identity.Subject == at.subject && (found == nil || c.Serial > found.Serial) {
			found = c
		}
	}
	return found
}
