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

// Options are the options of a Handler. The zero value of a field selects its default. A negative
// number does too, unless the field's comment says otherwise.
type Options struct {
	// Prefix is the path before the namespace. It may have several segments.
	// Default "parties".
	Prefix string

	// Origins are the pages that may reach rooms besides those of the server's own
	// host. An entry is an origin ("https://app.example.com"), a host with its port
	// if it has one ("localhost:5173"), or either with wildcards as in path.Match
	// ("https://*.example.com", "localhost:*"). A wildcard matches dots too. "*"
	// lets every page connect with its visitor's identity; it is never a default. A
	// request without an Origin header passes, and Authenticate decides about it.
	//
	// Browsers also send plain requests for pages that Origins does not name. Such a
	// request is refused if its method may change something
	// (http.CrossOriginProtection). GET, HEAD, and requests that only "*" allows, reach
	// Authenticate and OnRequest without Cookie, and without an Authorization that
	// browsers add (Basic, Digest, Negotiate, NTLM), unless the visitor has followed a
	// link. Browsers tell the page's origin only to HTTPS servers and to localhost, so
	// over plain HTTP an OnRequest should change nothing for a GET.
	Origins []string

	// Hosts are the names of this server, as clients send them in the Host header:
	// "rooms.example.com", or with wildcards as in path.Match. A port does not matter.
	// "localhost", loopback addresses and the address of the connection need not be
	// listed. "*" allows every name. Another name is refused with forbidden_host (421),
	// because it may be a foreign page's name that points here (DNS rebinding). The
	// Handler checks every request that reaches it. Other handlers of the same server are
	// protected as its Next, but not beside it on a ServeMux. Default: none. Then
	// connections to a loopback address accept no other name, and others accept every name.
	Hosts []string

	// TrustedProxies are the addresses of proxies whose X-Forwarded-Host,
	// X-Forwarded-Proto and X-Forwarded-For are believed. The last value of each header
	// counts. The first two are the name and scheme under which the client called the
	// proxy: a page of that name is the server's own, and with Hosts the name must be
	// among them. The third is the client's address; all clients behind a proxy that is not
	// trusted have one address, see [hibernate.Shares]. A proxy that passes on the Host
	// header unchanged needs no trust for the name. Default: none.
	TrustedProxies []netip.Prefix

	// Authenticate returns the identity of a request's sender, or an error if the sender
	// may not enter the room. It is called before the room wakes. The key is decoded and
	// checked. Its namespace exists, and the room may be a new one. Authenticate is called
	// on the request's own goroutine, for many requests at once. A *room.Error refuses
	// with its code and message. Any other error refuses with unauthorized (401), and is
	// logged: the first of a namespace in a minute at info, others at debug. Default:
	// everybody has the zero Identity and may enter every room.
	Authenticate func(*http.Request, room.Key) (room.Identity, error)

	// ReadLimit is the size of a client's largest message in bytes. A message of up to
	// twice as many is skipped and answered with frame_too_large. A larger one closes its
	// socket with 1009. Default 1 MiB.
	ReadLimit int64
	// ReadTimeout is the time in which one message must arrive, from its first byte to its
	// last, and the body of a plain request. Default 60 s.
	ReadTimeout time.Duration
	// SetupTimeout is the time in which a room must accept a connection. Default 15 s.
	SetupTimeout time.Duration

	// SendQueueBytes and SendQueueFrames limit what waits for one socket. If more than
	// either waits when something is to be sent, the client is too slow and its socket is
	// closed with 4000. The same happens if more waits than is left of the node's memory
	// (room.Options.Memory). What is sent in one call is accepted as a whole and not
	// counted against what follows it, so a snapshot may be larger than the queue.
	// Defaults 8 MiB, 4096.
	SendQueueBytes  int
	SendQueueFrames int
	// WriteTimeout is how long the client may take nothing of what is being written, give
	// or take an eighth. Over TLS it is how long the client may need for the next 16 KiB.
	// Default 20 s, because after 5 s without a network TCP may wait as long again before
	// its next try.
	WriteTimeout time.Duration

	// PingInterval is how long a socket may be silent before it is pinged. PongTimeout is
	// how long it may then stay silent before it is closed with 4001. Both may take up to
	// an eighth of the shorter one longer, and at most a second. A client that takes what
	// waits for it is not silent, however slow it is. Defaults 30 s, 10 s.
	PingInterval time.Duration
	PongTimeout  time.Duration

	// ParkAfter is how long a socket may be quiet before it is parked. A parked socket has
	// no goroutine and no buffers, and the next byte makes it active again. Only plain TCP
	// sockets on Linux are parked. Default 1 s; negative: no socket is parked.
	ParkAfter time.Duration

	// MaxConnections is the maximum number of sockets. One more is refused with 503. Each
	// needs a descriptor. Default 100,000, or what the process may have besides the rooms'
	// files; negative: no limit.
	MaxConnections int

	// MaxBody is the size of the largest body of a plain request in bytes. Default 1 MiB.
	MaxBody int64
	// CORS says what pages of other origins may do over plain HTTP.
	CORS CORS

	// Next serves paths that are not a room's. Default: 404.
	Next http.Handler
	// Logger receives messages for the operator. Default: slog.Default().
	Logger *slog.Logger

	direct *writeLimiter     // of the handler's links, see link.writeAtOnce
	memory *hibernate.Memory // the node's; nil counts nothing
}

// CORS says what pages of allowed origins may do over plain HTTP. Options.Origins
// says which origins are allowed.
type CORS struct {
	// Methods that a page may use. Default GET, HEAD, POST, PUT, PATCH, DELETE.
	Methods []string
	// Headers that a page may send. Default Authorization, Content-Type.
	Headers []string
	// ExposeHeaders are the headers of the answer that a page may read besides the
	// CORS-safelisted ones. Default none.
	ExposeHeaders []string
	// Credentials lets a page send the visitor's cookies. It has no effect on an
	// origin that only "*" allows. Default false.
	Credentials bool
	// MaxAge is how long a browser may cache the answer to a preflight. Default 10 min.
	MaxAge time.Duration
}

const (
	defaultConnections = 100_000

	closeTimeout  = 5 * time.Second // for the client's answer to a close, or for writing the close
	giveUpTimeout = time.Second     // for writing the close to a client that seems to be gone
	maxID         = 128             // bytes of a connection's id
)

// withDefaults returns a checked copy of o with the defaults set.
func (o Options) withDefaults() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = "parties"
	}
	o.Prefix = strings.Trim(o.Prefix, "/")
	if o.Prefix == "" || strings.ContainsAny(o.Prefix, "?#%") || strings.Contains(o.Prefix, "//") {
		return o, fmt.Errorf("transport: %q is not a prefix: want path segments like parties", o.Prefix)
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
	o.direct = new(writeLimiter)
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

// def sets a field to its default if it is zero or negative.
func def[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// panicked logs a recovered panic with its stack. room is "" if it is not known.
func (o *Options) panicked(event, room string, value any) {
	o.Logger.Error(event, "room", room, "panic", value, "stack", string(debug.Stack()))
}
