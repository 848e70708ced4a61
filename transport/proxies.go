package transport

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// What a proxy in front says of a request. Anybody can send such headers, so that only those of
// the proxies that the operator names are believed.

// asked is the request as the client has sent it to the proxy in front: with the name, and the scheme,
// that the page has in its address. It is r itself where no trusted proxy says otherwise. It is for
// judging alone; Authenticate and the room get r.
func (o *Options) asked(r *http.Request) *http.Request {
	host, scheme := forwarded(r, "X-Forwarded-Host"), forwarded(r, "X-Forwarded-Proto")
	if host == "" && scheme == "" || !o.trusts(r.RemoteAddr) {
		return r
	}
	asked := r.WithContext(r.Context()) // a copy
	if host != "" {
		asked.Host = host
	}
	switch {
	case strings.EqualFold(scheme, "http"):
		asked.TLS = nil
	case strings.EqualFold(scheme, "https") && asked.TLS == nil:
		asked.TLS = &tls.ConnectionState{}
	}
	return asked
}

// trusts reports whether the other end of a connection is one of TrustedProxies.
func (o *Options) trusts(remote string) bool {
	addr := ipOf(remote)
	return slices.ContainsFunc(o.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// addressOf is from where a request comes: the IP address of the other end, or what a trusted proxy says of it.
// IPv6 addresses of one network of 64 bits are one, because a client has them all.
func (o *Options) addressOf(r *http.Request) string {
	if o.trusts(r.RemoteAddr) {
		if addr, err := netip.ParseAddr(forwarded(r, "X-Forwarded-For")); err == nil {
			return network(addr)
		}
	}
	return network(ipOf(r.RemoteAddr))
}

// network is the network of a client that has an address, as a text.
func network(addr netip.Addr) string {
	addr = addr.Unmap()
	if prefix, err := addr.Prefix(64); addr.Is6() && err == nil {
		return prefix.String()
	}
	return addr.String()
}

// forwarded is what the nearest proxy has put into a header: its last value, because what stands
// before it came with the request.
func forwarded(r *http.Request, header string) string {
	values := r.Header.Values(header)
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}
