package transport

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"github.com/denrooms/den/syncproto"
)

// Which names the server is called by. A page can let its own name point to 127.0.0.1 once it has
// loaded (DNS rebinding). The browser then takes the server for the page's own, so that no check of
// origins sees a stranger: only the Host header has the page's name.

// A hosts list has the names besides those of the connection's own address, in lower case.
type hosts struct {
	patterns []string
	any      bool // "*" is in it
}

func newHosts(list []string) (*hosts, error) {
	s := &hosts{}
	for _, entry := range list {
		pattern := plainName(strings.TrimSpace(entry))
		if pattern == "*" {
			s.any = true
			continue
		}
		_, err := netip.ParseAddr(pattern)
		if pattern == "" || strings.ContainsAny(pattern, "/@?#, ") || err != nil && strings.Contains(pattern, ":") {
			return nil, fmt.Errorf("transport: the host %q is not a name like rooms.example.com, without a scheme and a port", entry)
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("transport: the host %q: %w", entry, err)
		}
		s.patterns = append(s.patterns, pattern)
	}
	return s, nil
}

// serves reports whether a request calls the server by a name that is its own. Without a list that is
// asked only of connections to a loopback address.
func (s *hosts) serves(r *http.Request) bool {
	local := localAddr(r)
	if s.any || len(s.patterns) == 0 && !local.IsLoopback() {
		return true
	}
	name := hostname(r.Host)
	if name == "" || name == "localhost" {
		return true // no browser leaves the name away
	}
	addr, err := netip.ParseAddr(name)
	if err == nil && (addr.IsLoopback() || addr.Unmap() == local) {
		return true // an address is not looked up, so nobody can rebind it
	}
	return s.listed(name)
}

func (s *hosts) listed(name string) bool {
	for _, pattern := range s.patterns {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// localAddr is the server's side of a request's connection, and invalid where it has no IP address.
// It is asked for each connection, because a server on all addresses is on the loopback too.
func localAddr(r *http.Request) netip.Addr {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if addr == nil {
		return netip.Addr{}
	}
	return ipOf(addr.String())
}

// ipOf is the address in "address:port", without its zone.
func ipOf(addrPort string) netip.Addr {
	parsed, err := netip.ParseAddrPort(addrPort)
	if err != nil {
		return netip.Addr{}
	}
	return parsed.Addr().Unmap().WithZone("")
}

// hostname is the name in a Host header, in lower case. The port says nothing of who calls:
// behind a tunnel it is another than the server's.
func hostname(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil || port == "" {
			host = name
		}
	}
	return plainName(host)
}

// plainName is a name as it is compared: without an IPv6 address's brackets and a DNS name's last dot.
func plainName(name string) string {
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		name = name[1 : len(name)-1]
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// checkHost refuses a request that calls the server by a name that is not its own, and tells the operator.
// With a list, the name that a trusted proxy was called by must be on it as well.
func (h *Handler) checkHost(r, asked *http.Request) *refusal {
	host := r.Host
	switch {
	case !h.hosts.serves(r):
	case len(h.hosts.patterns) > 0 && !h.hosts.serves(asked):
		host = asked.Host
	default:
		return nil
	}
	name := shown(hostname(host))
	if h.refused.due("host "+name, h.now()) {
		h.opts.Logger.Warn("a request was refused: the server does not go by the name in its Host header",
			"host", name, "remote", r.RemoteAddr, "allow", "den -hosts (DEN_HOSTS), transport.Options.Hosts")
	}
	return &refusal{http.StatusMisdirectedRequest, syncproto.CodeForbiddenHost,
		fmt.Sprintf("This server does not go by the name %q. Its operator can allow the name: den -hosts, or Hosts in transport.Options.", name)}
}
