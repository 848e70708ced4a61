package transport

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// What a proxy says of a request. Anybody can send these headers, so only those of proxies that
// the operator names are believed.

// asked returns the request as the client sent it to a trusted proxy: with the name and the scheme
// of the page's address. It returns r if no trusted proxy says otherwise. The result is only for the
// checks of host and origin. Authenticate and the room get r.
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

// addressOf returns the client's address of a request: the IP address of the other end, or the one that a trusted proxy
// reports. All IPv6 addresses of a /64 network count as one, because one client has them all.
func (o *Options) addressOf(r *http.Request) string {
	if o.trusts(r.RemoteAddr) {
		if addr, err := netip.ParseAddr(forwarded(r, "X-Forwarded-For")); err == nil {
			return network(addr)
		}
	}
	return network(ipOf(r.RemoteAddr))
}

// network returns the network of a client's address as text: an IPv4 address, or an IPv6 /64.
func network(addr netip.Addr) string {
	addr = addr.Unmap()
	if prefix, err := addr.Prefix(64); addr.Is6() && err == nil {
		return prefix.String()
	}
	return addr.String()
}

// forwarded returns what the nearest proxy has put into a header. This is the last value, because the ones
// before it came with the request.
func forwarded(r *http.Request, header string) string {
	values := r.Header.Values(header)
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}
