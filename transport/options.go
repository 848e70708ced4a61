package transport

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room"
)

// Options of a Handler. The zero value of each field stands for its default, and so does a
// negative number where the field does not say what it means.
type Options struct {
	// Prefix is the path in front of the namespace; it may have several segments.
	// Default "parties".
	Prefix string

	// Origins are the pages that may reach rooms besides those of the server's own
	// host. An entry is an origin ("https://app.example.com"), a host with its port
	// if it has one ("localhost:5173"), or either with wildcards as in path.Match
	// ("https://*.example.com", "localhost:*"); a wildcard matches dots too. "*"
	// alone lets every page of the world connect with its visitor's identity; it is
	// never a default. A request without an Origin header
	// passes: who it is, is Authenticate's business.
	//
	// Plain requests that browsers send for pages that are not let in by name are
	// refused if their method may change something (http.CrossOriginProtection). GET, HEAD, and what
	// only "*" lets in, reach Authenticate and OnRequest without Cookie, and without an
	// Authorization that browsers add (Basic, Digest, Negotiate, NTLM), unless the visitor has followed a
	// link. Browsers say whose page it is to https and to localhost only, so
	// over plain HTTP an OnRequest should change nothing for a GET.
	Origins []string

	// Hosts are the names by which clients call this server, as they come in the Host
	// header: "rooms.example.com", or with wildcards as in path.Match; a port does
	// not matter. "localhost", loopback addresses and the address that the connection
	// came to need not be listed, and "*" is every name. Another name is
	// refused with forbidden_host (421), because it may be a foreign page's
	// that points here (DNS rebinding). That is on every path that reaches the Handler: other handlers of the same server are
	// protected only as its Next, and not beside it on a ServeMux. Default: none; then
	// connections to a loopback address are refused every other name, and elsewhere every name passes.
	Hosts []string

	// TrustedProxies are the addresses of the proxies in front whose X-Forwarded-Host and
	// X-Forwarded-Proto are believed: by which name and scheme the client calls them. What counts is the last value
	// of each header. A page of that name is the server's own; with Hosts, the name must be
	// among them. So is the last value of X-Forwarded-For, as the address from which the client comes; without trust all
	// who come through a proxy come from one address, see [hibernate.Shares]. A proxy that hands the Host header on as it
	// came needs no trust for that. Default: none.
	TrustedProxies []netip.Prefix

	// Authenticate finds out who sends a request, and whether that one may come to the room
	// that it is for, before the room is woken. The key is as rooms have it, decoded and
	// checked; its namespace exists, and the room may be a new one. Authenticate is called on the
	// request's own goroutine, for many requests at once. A *room.Error refuses with its code and
	// message, any other error with unauthorized (401) and is logged each time, at info. Default:
	// everybody is the zero Identity, and may come to every room.
	Authenticate func(*http.Request, room.Key) (room.Identity, error)

	// ReadLimit is the largest message of a client in bytes. One of up to twice as many is
	// passed over and answered with frame_too_large; a larger one closes its socket with
	// 1009. Default 1 MiB.
	ReadLimit int64
	// ReadTimeout is how long one message may take from its first byte to its last,
	// and the body of a plain request likewise. Default 60 s.
	ReadTimeout time.Duration
	// SetupTimeout is how long a room may take to accept a connection. Default 15 s.
	SetupTimeout time.Duration

	// SendQueueBytes and SendQueueFrames bound what waits for one socket. A socket
	// that has more waiting than either when something is to be sent is too slow and is
	// closed with 4000; so is one that has more waiting than is left of the node's memory
	// (room.Options.Memory). What is sent in one call is taken whole and not counted
	// against what follows it, so that a snapshot may be larger than the queue.
	// Defaults 8 MiB, 4096.
	SendQueueBytes  int
	SendQueueFrames int
	// WriteTimeout is how long the client's side may take nothing of what is being
	// written, give or take an eighth; over TLS, how long it may take for the next
	// 16 KiB. Default 20 s: after 5 s without a network TCP may wait as long again
	// before it tries the next time.
	WriteTimeout time.Duration

	// PingInterval is how long a socket may be silent before it is sent a ping, and
	// PongTimeout how long it may then stay silent before it is closed with 4001; both
	// up to an eighth of the shorter one more, and a second at most. A client that
	// takes what waits for it is not silent, however slow it is. Defaults 30 s, 10 s.
	PingInterval time.Duration
	PongTimeout  time.Duration

	// ParkAfter is how long a socket may be quiet before it is parked: its goroutine and
	// its buffers are given back, and its first byte brings it back. It is for plain TCP on
	// Linux; other connections (TLS, other systems) keep what they have. Default 1 s;
	// negative: no socket is parked.
	ParkAfter time.Duration

	// MaxConnections is how many sockets there may be; one more is refused with 503. Each takes
	// a descriptor. Default 100,000, or what the process may have beside the rooms' files;
	// negative: no limit.
	MaxConnections int

	// MaxBody is the largest body of a plain request in bytes. Default 1 MiB.
	MaxBody int64
	// CORS says what pages of other origins may do over plain HTTP.
	CORS CORS

	// Next serves what is not a room's path. Default: 404.
	Next http.Handler
	// Logger gets what an operator should know. Default: slog.Default().
	Logger *slog.Logger

	direct *turnstile        // of the handler's links, see link.writeAtOnce
	memory *hibernate.Memory // the node's; nil counts nothing
}

// CORS says what pages of allowed origins may do over plain HTTP. Who is
// allowed is Options.Origins.
type CORS struct {
	// Methods that a page may use. Default GET, HEAD, POST, PUT, PATCH, DELETE.
	Methods []string
	// Headers that a page may send. Default Authorization, Content-Type.
	Headers []string
	// ExposeHeaders are those of the answer that a page may read besides the plain
	// ones. Default none.
	ExposeHeaders []string
	// Credentials lets a page send the visitor's cookies along. It has no effect on
	// an origin that only "*" allows. Default false.
	Credentials bool
	// MaxAge is how long a browser may remember what it may do. Default 10 min.
	MaxAge time.Duration
}

const (
	defaultConnections = 100_000

	closeTimeout  = 5 * time.Second // for a client's answer to a close, or to take the close itself
	giveUpTimeout = time.Second     // for a client that seems to be gone to take the close
	maxID         = 128             // bytes of a connection's id
)

// withDefaults gives a checked copy that shares no slice with o.
func (o Options) withDefaults() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = "parties"
	}
	o.Prefix = strings.Trim(o.Prefix, "/")
	if o.Prefix == "" || strings.ContainsAny(o.Prefix, "?#%") || strings.Contains(o.Prefix, "//") {
		return o, fmt.Errorf("transport: %q is no prefix: want path segments like parties", o.Prefix)
	}
	if o.Authenticate == nil {
		o.Authenticate = func(*http.Request, room.Key) (room.Identity, error) { return room.Identity{}, nil }
	}
	def(&o.ReadLimit, 1<<20)
	def(&o.ReadTimeout, time.Minute)
	def(&o.SetupTimeout, 15*time.Second)
	def(&o.SendQueueBytes, 8<<20)
	def(&o.SendQueueFrames, 4096)
	def(&o.WriteTimeout, 20*time.Second)
	def(&o.PingInterval, 30*time.Second)
	def(&o.PongTimeout, 10*time.Second)
	if o.ParkAfter == 0 {
		o.ParkAfter = time.Second
	}
	def(&o.MaxBody, 1<<20)
	if o.Next == nil {
		o.Next = http.HandlerFunc(notFound)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.direct = new(turnstile)
	return o, o.CORS.setDefaults()
}

func (c *CORS) setDefaults() error {
	if len(c.Methods) == 0 {
		c.Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	}
	if len(c.Headers) == 0 {
		c.Headers = []string{"Authorization", "Content-Type"}
	}
	def(&c.MaxAge, 10*time.Minute)
	for _, list := range [][]string{c.Methods, c.Headers, c.ExposeHeaders} {
		for _, token := range list {
			if token == "" || strings.ContainsAny(token, ", \t\r\n") {
				return fmt.Errorf("transport: %q in CORS is neither a method nor a header", token)
			}
		}
	}
	return nil
}

// def gives a field its default where it is zero or makes no sense.
func def[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// panicked tells the operator of a panic that was recovered from, with the stack. room is "" where
// it is not known.
func (o *Options) panicked(event, room string, value any) {
	o.Logger.Error(event, "room", room, "panic", value, "stack", string(debug.Stack()))
}
