package transport

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/syncproto"
)

// A Handler brings HTTP requests and WebSockets to the rooms of a host. Its
// methods are safe from any goroutine.
type Handler struct {
	// Immutable.

	host       *room.Host
	opts       Options
	origins    *origins
	hosts      *hosts
	began      time.Time
	unfinished *unfinished

	// Safe from any goroutine.

	draining atomic.Bool  // nothing new is taken; set with mu held
	parked   atomic.Int64 // sockets that are parked now
	refused  refusedLog
	denied   refusedLog // see authenticate
	crowded  refusedLog // see tellCrowded
	slow     refusedLog // see tellSlow

	// Protected by mu.

	mu       sync.Mutex
	sockets  table         // open connections, from hijack to the end
	sweeper  *time.Timer   // looks after all sockets; nil while there are none
	poller   *poller       // hears of parked sockets' bytes; made for the first, and closed with the last socket
	admitted int           // sockets, and upgrades on their way to one
	requests int           // plain requests in work
	idle     chan struct{} // closed when draining and nothing is left; made by Shutdown
}

// NewHandler makes a Handler. It fails where an option is not what it should be.
func NewHandler(host *room.Host, o Options) (*Handler, error) {
	if host == nil {
		return nil, errors.New("transport: NewHandler needs a host")
	}
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	opts.memory = host.Memory()
	if err := opts.fitConnections(host.Descriptors()); err != nil {
		return nil, err
	}
	list, err := newOrigins(o.Origins)
	if err != nil {
		return nil, err
	}
	names, err := newHosts(o.Hosts)
	if err != nil {
		return nil, err
	}
	h := &Handler{
		host:    host,
		opts:    opts,
		origins: list,
		hosts:   names,
		began:   time.Now(),
	}
	h.unfinished = newUnfinished(opts.memory, max(opts.ReadLimit, opts.MaxBody), h.tellCrowded)
	return h, nil
}

// tellCrowded tells the operator, once a minute, that unfinished messages have as much memory as they may.
func (h *Handler) tellCrowded() {
	if h.crowded.due("", h.now()) {
		h.opts.Logger.Warn("clients with large messages that do not end are closed with overloaded, because such messages have as much memory as they may",
			"limit", h.unfinished.memory.Limit(), "hint", "raise -memory (Options.Memory) if the machine has more")
	}
}

// tellSlow tells the operator, once a minute for each room, that clients that do not keep up are closed.
func (h *Handler) tellSlow(key room.Key) {
	if h.slow.due(key.String(), h.now()) {
		h.opts.Logger.Info("a client that does not read what waits for it was closed with slow_consumer; the next minute's are not logged",
			"namespace", key.Namespace, "room", key.Room)
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	asked := h.opts.asked(r)
	if bad := h.checkHost(r, asked); bad != nil {
		bad.send(w)
		return
	}
	key, ok, bad := route(h.opts.Prefix, r.URL)
	if !ok {
		h.opts.Next.ServeHTTP(w, r)
		return
	}
	answer := &response{ResponseWriter: w}
	defer h.contain(answer, key)
	judged := h.origins.judge(asked)
	h.opts.CORS.allow(w.Header(), r, judged)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case !h.host.HasNamespace(key.Namespace):
		bad = &refusal{http.StatusBadRequest, syncproto.CodeUnknownNamespace, "There is no such namespace."}
	case bad == nil && (judged == originRefused || forged(asked, judged)):
		bad = h.refuseOrigin(r, asked)
	}
	switch {
	case bad != nil:
		bad.send(answer)
	case r.Method == http.MethodOptions:
		h.opts.CORS.preflight(answer, r)
	case wantsUpgrade(r):
		h.upgrade(answer, r, key)
	default:
		h.request(answer, h.anonymous(r, judged), key)
	}
}

// contain ends a request whose handling panicked, and nothing but it.
func (h *Handler) contain(w *response, key room.Key) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v) // net/http's own way to break a connection off
	}
	h.opts.panicked("a request panicked", key.String(), v)
	if !w.started {
		(&refusal{http.StatusInternalServerError, syncproto.CodeActionFailed, "The server failed."}).send(w)
	}
}

// authenticate finds out who sends a request to a room.
func (h *Handler) authenticate(r *http.Request, key room.Key) (room.Identity, *refusal) {
	id, err := h.opts.Authenticate(r, key)
	if err == nil {
		return id, nil
	}
	var written *room.Error
	if errors.As(err, &written) {
		return id, refuse(err, http.StatusForbidden)
	}
	level := slog.LevelDebug
	if h.denied.due(key.Namespace, h.now()) {
		level = slog.LevelInfo
	}
	h.opts.Logger.Log(r.Context(), level, "authentication failed; the namespace's next failures are logged at debug for a minute",
		"namespace", key.Namespace, "room", shown(key.Room), "remote", r.RemoteAddr, "err", err)
	return id, &refusal{http.StatusUnauthorized, syncproto.CodeUnauthorized, "You are not signed in, or may not come here."}
}

// now is the time since the handler was made, on the monotonic clock, and never 0.
func (h *Handler) now() int64 { return int64(time.Since(h.began)) + 1 }

// wantsUpgrade tells a request for a WebSocket from a plain one.
func wantsUpgrade(r *http.Request) bool {
	return r.Method == http.MethodConnect || hasToken(r.Header, "Upgrade", "websocket")
}

func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for one := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}

// A response knows whether something has been sent, so that a failure behind it
// does not write a second answer. Whoever writes to it calls WriteHeader first.
type response struct {
	http.ResponseWriter
	started bool
}

func (w *response) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.started = true
		if !hasToken(w.Header(), "Vary", "Origin") { // a room may have set its own
			w.Header().Add("Vary", "Origin")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController through.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
