package room

import (
	"context"
	"errors"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// What a client spends of a node that has too much to do, and how it waits for its turn. See [hibernate.Shares].
//
//	transport reads a message ─▶ Receive ─▶ mailbox ─▶ turn: what it has had the room send is counted
//	      ▲                                                    │
//	      └── Pace: nothing of the client is in work, and it has waited for what it spent ◀──┘

const (
	// costOfNew is what a new client costs, and costOfWake what it costs if its room has to be woken.
	costOfNew  = 4 * hibernate.UnitBytes
	costOfWake = 8 * hibernate.UnitBytes
	// servedWithin is how long a client that has something in work is not read. It is a limit because a snapshot may
	// take long.
	servedWithin = time.Second
)

// Enter waits, while the node has too much to do, until a new client or request from an address may come to a room: 5 s at
// most. A transport calls it before Connect and ServeRequest, and passes them the context that Enter returns, or one
// derived from it. The next clients from the address pay for what Connect and ServeRequest have the room send. If too many
// wait, Enter returns an *Error with the code overloaded. If ctx ends, it returns ctx's error.
func (h *Host) Enter(ctx context.Context, key Key, address string) (context.Context, error) {
	var cost int64 = costOfNew
	if !h.node.actors.Has(key) {
		cost = costOfWake
	}
	err := h.node.limits.shares.Enter(ctx, address, cost)
	if errors.Is(err, hibernate.ErrCongested) {
		return ctx, &Error{Code: syncproto.CodeOverloaded, Message: "The server has too much to do. Try again later.", cause: err}
	}
	if guest := h.node.limits.shares.Guest(address); guest != nil {
		ctx = context.WithValue(ctx, guestKey{}, guest)
	}
	return ctx, err
}

// guestKey is the key of the *hibernate.Share in the context that Enter returns.
type guestKey struct{}

// guestOf returns the share that Enter has put into a context; nil: there is none.
func guestOf(ctx context.Context) *hibernate.Share {
	guest, _ := ctx.Value(guestKey{}).(*hibernate.Share)
	return guest
}
