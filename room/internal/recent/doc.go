// Package recent is what a host remembers of clients and rooms for a while, beyond a room's life: which actions have
// panicked, hung or lost their batch, and which clients have left without having asked for anything. Each memory has
// a limit, and a restart forgets all of it.
package recent

import "github.com/denrooms/den/actor"

// A Client is a room's client, by the id of its connection or the id under which it numbers its actions.
type Client struct {
	Room        actor.Key
	ID, Subject string
}
