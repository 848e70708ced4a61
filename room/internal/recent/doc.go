// Package recent is what a host remembers of clients and rooms beyond a room's life, and for a while: which actions have panicked, hung or
// taken their batch down, and who has left and had asked for nothing. Each memory has a limit, and a restart forgets all of it.
package recent

import "github.com/denrooms/den/actor"

// A Client is one of a room's: by the id of its connection, or the one under which it numbers its actions.
type Client struct {
	Room        actor.Key
	ID, Subject string
}
