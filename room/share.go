package room

import (
	"context"
	"errors"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// What a client spends of a node that has too much to do, and how it waits for its turn. See [hibernate.Shares].
//
//	transport reads a message ─▶ Receive ─▶ mailbox ─▶ turn: what it has had the room send is counted
//	      ▲                                                    │
//	      └── Pace: nothing of the client is in work, and it has waited for what it spent ◀──┘

const (
	// costOfNew is what somebody new costs, and costOfWake what one costs for whom the room has to be woken.
	costOfNew  = 4 * hibernate.UnitBytes
	costOfWake = 8 * hibernate.UnitBytes
	// servedWithin is how long a client that has something in work is not read. A snapshot may be in work for long.
	servedWithin = time.Second
)

// Enter waits, while the node has too much to do, until a new client or request from an address may come to a room: 5 s at
// most. A transport calls it before Connect and ServeRequest, and passes them the context that Enter returns, or one
// derived from it. The next clients from the address pay for what Connect and ServeRequest have the room send. If too many
// wait, Enter returns an *Error with the code overloaded. If ctx ends, it returns ctx's error.
func (h *Host) Enter(ctx context.Context, key Key, address string) (context.Context, error) {
	var cost int64 = costOfNew
	if !h.actors.Has(key) {
		cost = costOfWake
	}
	err := h.shares.Enter(ctx, address, cost)
	if errors.Is(err, hibernate.ErrCongested) {
		return ctx, &Error{Code: syncproto.CodeOverloaded, Message: "The server has too much to do. Try again later.", cause: err}
	}
	if guest := h.shares.Guest(address); guest != nil {
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

// Paced counts bytes that the client has sent, and reports whether Pace is to be called before more is read of it.
func (s *Session) Paced(bytes int) bool {
	if !s.ns.host.shares.Congested() {
		return false
	}
	s.mu.Lock()
	share := s.shared()
	s.mu.Unlock()
	share.Spend(hibernate.UnitBytes + int64(bytes))
	return true
}

// Pace waits until what the client has sent is served, for a second at most, and then until the client's share of the
// node is free again. It returns when the session is over, too. A transport calls it from the goroutine that reads the
// client.
func (s *Session) Pace() {
	defer s.unread()()
	idle := func() bool { return s.working == 0 }
	s.waitFor(servedWithin, idle)
	s.mu.Lock()
	share := s.shared()
	s.mu.Unlock()
	shares := s.ns.host.shares
	shares.Pause(shares.Wait(share), func(step time.Duration) bool { return s.waitFor(step, func() bool { return false }) })
}

// waitFor waits until done holds, the session is over, or the time has passed. It reports whether the time has passed. done is
// called with mu held.
func (s *Session) waitFor(long time.Duration, done func() bool) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	for {
		s.mu.Lock()
		if s.over || done() {
			s.mu.Unlock()
			return false
		}
		freed := s.freed()
		s.mu.Unlock()
		select {
		case <-timer.C:
			return true
		case <-freed: // something may have changed
		}
	}
}

// seconds is Host.uptime in seconds, modulo 2^16.
func (h *Host) seconds() uint16 { return uint16(h.uptime() / time.Second) }

// shared is the client's share, made where there is none. mu is held.
func (s *Session) shared() *hibernate.Share {
	r := s.rare()
	if r.share == nil {
		r.share = new(hibernate.Share)
	}
	r.share.Age(time.Duration(s.ns.host.seconds()-s.came) * time.Second) // after 18 h it is young again, which does no harm
	return r.share
}

// Share is what the client has spent while the node was congested; nil: nothing.
func (s *Session) Share() *hibernate.Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seldom == nil {
		return nil
	}
	return s.seldom.share
}

// spendShown counts the bytes of a presence that the client has shown, once for each connection that takes part, while the node is
// congested.
func (s *Session) spendShown(bytes int) {
	if !s.ns.host.shares.Congested() {
		return
	}
	peers := s.ns.host.presence.Peers(hibernate.Key(s.Key()))
	s.mu.Lock()
	share := s.shared()
	s.mu.Unlock()
	share.Spend(int64(bytes) * int64(peers))
}

// serveCounted is serve, and counts what the message has the room send.
func (t *turn) serveCounted(env *actor.Envelope) {
	switch m := env.Message.(type) {
	case *actionMessage:
		t.share = m.share
	case *syncMessage:
		t.share = m.share
	case *rawMessage:
		t.share = m.share
	case *connectMessage:
		t.share = m.share
	case *closeMessage:
		t.share = m.share
	case *requestMessage:
		t.share = m.share
	case *thenMessage:
		t.share = m.share
		t.share.Spend(hibernate.UnitBytes) // it is a message, too
	}
	if t.share == nil {
		t.serve(env)
		return
	}
	before := len(t.out)
	t.serve(env)
	bytes := int64(0)
	for _, d := range t.out[min(before, len(t.out)):] {
		for _, f := range d.frames {
			bytes += int64(len(f.Wire()) * len(d.to))
		}
	}
	t.share.Spend(bytes)
	t.share = nil
}
