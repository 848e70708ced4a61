package transport

import (
	"context"
	"net/http"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// Who is inside: counting sockets and requests, and ending them all.

// admit takes a place for a socket. Each success is given back by one leave or
// one turnAway.
func (h *Handler) admit() *refusal {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining.Load() {
		return shuttingDown()
	}
	if most := h.opts.MaxConnections; most > 0 && h.admitted >= most {
		return &refusal{http.StatusServiceUnavailable, syncproto.CodeOverloaded, "The server has too many connections. Try again later."}
	}
	h.admitted++
	return nil
}

// enterCongested has somebody new wait where the node has too much to do. The request that it returns goes on instead of r.
func (h *Handler) enterCongested(r *http.Request, key room.Key) (*http.Request, *refusal) {
	ctx, err := h.host.Enter(r.Context(), key, h.opts.addressOf(r))
	if err != nil {
		return r, refuse(err, http.StatusServiceUnavailable)
	}
	return r.WithContext(ctx), nil
}

// turnAway gives the place of an upgrade back that did not become a socket.
func (h *Handler) turnAway() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admitted--
	h.settle()
}

// join makes a socket known that is about to have an active half, so that Shutdown and
// keep-alive find it.
func (h *Handler) join(a *active) {
	s := a.s
	a.busy.Store(true) // until there is a reader
	s.heard.Store(h.now())
	s.mu.Lock()
	s.active = a
	s.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sockets.add(s, h.now()+int64(h.opts.PingInterval))
	if h.sweeper == nil {
		h.sweeper = time.AfterFunc(h.opts.sweepEvery(), h.sweep)
	}
}

// leave is the last thing that a socket does.
func (h *Handler) leave(s *socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sockets.remove(s)
	if h.sockets.len() == 0 {
		h.sweeper.Stop()
		h.sweeper = nil
		if h.poller != nil {
			h.poller.close()
			h.poller = nil
		}
	}
	h.admitted--
	h.settle()
}

// begin and end count a plain request.
func (h *Handler) begin() *refusal {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining.Load() {
		return shuttingDown()
	}
	h.requests++
	return nil
}

func (h *Handler) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests--
	h.settle()
}

// settle tells Shutdown when nothing is left. With mu held.
func (h *Handler) settle() {
	if h.idle != nil && h.admitted == 0 && h.requests == 0 {
		close(h.idle)
		h.idle = nil
	}
}

// Connections is the number of sockets, and of upgrades on their way to one.
func (h *Handler) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.admitted
}

// Shutdown ends everything in the order that loses nothing: new requests get 503,
// messages that come now are not taken, the host finishes what its rooms have in
// work and closes its databases, and each socket gets its last replies and then a close
// with 1001. It returns when all sockets are closed and all requests answered, or
// with ctx's error when ctx ends: then what is left is cut off.
//
// It shuts the host down, so a host that is mounted twice is gone for both
// Handlers. It may be called again, to wait once more.
func (h *Handler) Shutdown(ctx context.Context) error {
	idle := h.drain()
	err := h.host.Shutdown(ctx)
	for _, s := range h.open() {
		s.Close(syncproto.CloseGoingAway, shutdownReason)
	}
	select {
	case <-idle:
		return err
	case <-ctx.Done():
	}
	for _, s := range h.open() {
		s.abort(syncproto.CloseGoingAway, shutdownReason)
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// drain stops taking anything new. The channel closes when nothing is left.
func (h *Handler) drain() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining.Store(true)
	idle := h.idle
	if idle == nil {
		idle = make(chan struct{})
		h.idle = idle
		h.settle()
	}
	return idle
}

func (h *Handler) open() []*socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sockets.all()
}

// Parked is how many sockets are parked now, see Options.ParkAfter.
func (h *Handler) Parked() int { return int(h.parked.Load()) }
