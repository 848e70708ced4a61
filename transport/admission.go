package transport

import (
	"context"
	"net/http"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// Counting sockets and requests, and shutting them all down.

// admit takes a place for a socket. Each place is given back by one leave or one
// releasePlace.
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

// waitForShare makes a new client, or a plain request, wait if the node is congested. The caller continues with the
// returned request instead of r.
func (h *Handler) waitForShare(r *http.Request, key room.Key) (*http.Request, *refusal) {
	ctx, err := h.host.Enter(r.Context(), key, h.opts.addressOf(r))
	if err != nil {
		return r, refuse(err, http.StatusServiceUnavailable)
	}
	return r.WithContext(ctx), nil
}

// releasePlace gives back the place of an upgrade that did not become a socket.
func (h *Handler) releasePlace() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admitted--
	h.settle()
}

// join adds a new socket to the table, so that Shutdown and keep-alive find it.
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

// leave removes a socket from the table and gives back its place. It is the last call for a socket.
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

// settle tells Shutdown when no socket and no request is left. mu is held.
func (h *Handler) settle() {
	if h.idle != nil && h.admitted == 0 && h.requests == 0 {
		close(h.idle)
		h.idle = nil
	}
}

// Connections returns the number of sockets, including upgrades in progress.
func (h *Handler) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.admitted
}

// Shutdown ends everything in an order that loses nothing. New requests get 503, and messages that
// arrive from now on are dropped. The host finishes what its rooms have in work and closes its
// databases. Each socket gets its last replies and then a close with 1001. Shutdown returns when all
// sockets are closed and all requests are answered. If ctx ends first, Shutdown cuts off what is left
// and returns ctx's error.
//
// Shutdown shuts the host down. If two Handlers share a host, neither can use it afterwards.
// Shutdown may be called again, to wait once more.
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

// drain makes the handler refuse new sockets and requests. The channel is closed when none is left.
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

// Parked returns the number of parked sockets, see Options.ParkAfter.
func (h *Handler) Parked() int { return int(h.parked.Load()) }
