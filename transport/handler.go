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

// A Handler connects HTTP requests and WebSockets to the rooms of a host. Its
// methods are safe for concurrent use.
type Handler struct {
	// Immutable.

	host       *room.Host
	opts       Options
	origins    *origins
	hosts      *hosts
	began      time.Time
	unfinished *unfinished

	// Safe from any goroutine.

	draining atomic.Bool  // nothing new is accepted; set with mu held
	parked   atomic.Int64 // number of parked sockets
	refused  refusedLog
	denied   refusedLog // see authenticate
	crowded  refusedLog // see logUnfinishedFull
	slow     refusedLog // see logSlowClient

	// Protected by mu.

	mu       sync.Mutex
	sockets  table         // open connections, from hijack to the end
	sweeper  *time.Timer   // runs sweep; nil while there are no sockets
	poller   *poller       // reports parked sockets that can be read; made for the first one, closed with the last socket
	admitted int           // sockets, and upgrades on their way to one
	requests int           // plain requests in work
	idle     chan struct{} // closed when draining and nothing is left; made by Shutdown
}

// NewHandler returns a Handler for host. It returns an error if an option is invalid.
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
	h.unfinished = newUnfinished(opts.memory, max(opts.ReadLimit, opts.MaxBody), h.logUnfinishedFull)
	return h, nil
}

// logUnfinishedFull logs, at most once a minute, that unfinished messages use all the memory that they may use.
func (h *Handler) logUnfinishedFull() {
	if h.crowded.due("", h.now()) {
		h.opts.Logger.Warn("clients with large unfinished messages are closed with overloaded, because such messages use as much memory as they may",
			"limit", h.unfinished.memory.Limit(), "hint", "raise -memory (Options.Memory) if the machine has more")
	}
}

// logSlowClient logs, at most once a minute for each room, that a client that does not keep up was closed.
func (h *Handler) logSlowClient(key room.Key) {
	if h.slow.due(key.String(), h.now()) {
		h.opts.Logger.Info("a client that reads too slowly was closed with slow_consumer; the room's next ones are not logged for a minute",
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
	case bad == nil && (judged == originRefused || crossSite(asked, judged)):
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
		h.request(answer, h.withoutCredentials(r, judged), key)
	}
}

// contain recovers from a panic in a request, so that only that request ends.
func (h *Handler) contain(w *response, key room.Key) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v) // net/http's way to abort a connection
	}
	h.opts.panicked("a request panicked", key.String(), v)
	if !w.started {
		(&refusal{http.StatusInternalServerError, syncproto.CodeActionFailed, "The server failed."}).send(w)
	}
}

// authenticate returns the identity of the sender of a request.
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

// now returns the nanoseconds since the handler was made, on the monotonic clock. It is never 0.
func (h *Handler) now() int64 { return int64(time.Since(h.began)) + 1 }

// wantsUpgrade reports whether a request asks for a WebSocket.
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

// A response knows whether an answer has begun, so that a later failure does not write a second
// one. Writers must call WriteHeader first.
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
