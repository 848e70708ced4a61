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

// The names under which the server accepts requests. A page can let its own name point to 127.0.0.1 after
// it has loaded (DNS rebinding). The browser then believes that the server is the page's own, so the check of
// origins does not help. Only the Host header shows the page's name.

// A hosts list has the names that are accepted besides the address of the connection, in lower case.
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

// serves reports whether a request's Host header is a name of the server. Without a list, only
// connections to a loopback address are checked.
func (s *hosts) serves(r *http.Request) bool {
	local := localAddr(r)
	if s.any || len(s.patterns) == 0 && !local.IsLoopback() {
		return true
	}
	name := hostname(r.Host)
	if name == "" || name == "localhost" {
		return true // a browser always sends a name
	}
	addr, err := netip.ParseAddr(name)
	if err == nil && (addr.IsLoopback() || addr.Unmap() == local) {
		return true // an address is not looked up, so it cannot be rebound
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

// localAddr returns the server's address of a request's connection. It is invalid if the connection has no IP
// address. It is read for each connection, because a server on all addresses is also on the loopback.
func localAddr(r *http.Request) netip.Addr {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if addr == nil {
		return netip.Addr{}
	}
	return ipOf(addr.String())
}

// ipOf returns the address in "address:port", without its zone.
func ipOf(addrPort string) netip.Addr {
	parsed, err := netip.ParseAddrPort(addrPort)
	if err != nil {
		return netip.Addr{}
	}
	return parsed.Addr().Unmap().WithZone("")
}

// hostname returns the name in a Host header, in lower case and without the port. The port does not matter,
// because behind a tunnel it differs from the server's.
func hostname(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil || port == "" {
			host = name
		}
	}
	return plainName(host)
}

// plainName returns a name as it is compared: in lower case, without the brackets of an IPv6 address and the last
// dot of a DNS name.
func plainName(name string) string {
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		name = name[1 : len(name)-1]
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// checkHost refuses a request whose Host header is not a name of the server, and logs it. With a
// list, the name that a trusted proxy reports must be on it as well.
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
		h.opts.Logger.Warn("a request was refused: the name in its Host header is not one of the server's",
			"host", name, "remote", r.RemoteAddr, "allow", "den -hosts (DEN_HOSTS), transport.Options.Hosts")
	}
	return &refusal{http.StatusMisdirectedRequest, syncproto.CodeForbiddenHost,
		fmt.Sprintf("%q is not a name of this server. Its operator can allow the name: den -hosts, or Hosts in transport.Options.", name)}
}
