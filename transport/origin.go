package transport

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/denrooms/den/syncproto"
)

// Which pages may reach rooms. A browser sends the visitor's cookies with a WebSocket
// handshake of any page, and no same-origin policy applies to it. This check takes its place.

// An origins list is the allow-list, checked and in lower case.
type origins struct {
	patterns []string
	any      bool // "*" is in it
}

// A verdict says what the list of origins says of a request.
type verdict int

const (
	originNone    verdict = iota // no Origin header: not a page
	originSame                   // a page of this host
	originListed                 // a page that the list names
	originAny                    // a page that only "*" allows
	originRefused                // a page that is not allowed
)

func newOrigins(list []string) (*origins, error) {
	o := &origins{}
	for _, entry := range list {
		pattern := strings.ToLower(strings.TrimSuffix(strings.TrimSpace(entry), "/"))
		if pattern == "*" {
			o.any = true
			continue
		}
		if pattern == "" || pattern == "null" {
			// Every sandboxed frame of every page has the origin "null".
			return nil, fmt.Errorf("transport: the origin %q does not name one site", entry)
		}
		host := pattern
		if scheme, rest, ok := strings.Cut(pattern, "://"); ok {
			if host = rest; scheme == "" {
				return nil, fmt.Errorf("transport: the origin %q has no scheme", entry)
			}
		}
		if host == "" || strings.ContainsAny(host, "/@?# ") {
			return nil, fmt.Errorf("transport: the origin %q is not of the form https://host[:port] or host[:port]", entry)
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("transport: the origin %q: %w", entry, err)
		}
		o.patterns = append(o.patterns, pattern)
	}
	return o, nil
}

// judge returns the verdict on the page that sent a request.
func (o *origins) judge(r *http.Request) verdict {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return originNone
	}
	u, ok := parseOrigin(values)
	switch {
	case ok && sameOrigin(u, r):
		return originSame
	case ok && o.listed(u):
		return originListed
	case o.any:
		return originAny
	}
	return originRefused
}

// parseOrigin reads what a browser sends: scheme://host[:port], and nothing else.
func parseOrigin(values []string) (*url.URL, bool) {
	if len(values) != 1 {
		return nil, false
	}
	u, err := url.Parse(values[0])
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, false
	}
	return u, true
}

// sameOrigin compares hosts. A request over TLS must come from an https page. Without TLS both schemes
// pass, because a proxy may have ended TLS.
func sameOrigin(u *url.URL, r *http.Request) bool {
	if u.Scheme != "https" && (u.Scheme != "http" || r.TLS != nil) {
		return false
	}
	return r.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func (o *origins) listed(u *url.URL) bool {
	host := strings.ToLower(u.Host)
	full := strings.ToLower(u.Scheme) + "://" + host
	web := u.Scheme == "http" || u.Scheme == "https" // a bare host does not name browser extensions
	for _, pattern := range o.patterns {
		target := host
		if strings.Contains(pattern, "://") {
			target = full
		} else if !web {
			continue
		}
		if pattern == target {
			return true // this includes hosts with brackets, which path.Match takes for a class
		}
		if ok, _ := path.Match(pattern, target); ok {
			return true
		}
	}
	return false
}

// refuseOrigin returns the refusal for a foreign page, and logs how to allow the page.
func (h *Handler) refuseOrigin(r, asked *http.Request) *refusal {
	origin := shown(r.Header.Get("Origin"))
	if origin == "" {
		origin = "unknown, the browser says " + shown(r.Header.Get("Sec-Fetch-Site"))
	}
	if h.refused.due("origin "+origin, h.now()) {
		attrs := []any{"origin", origin, "host", shown(asked.Host), "remote", r.RemoteAddr,
			"allow", "den -origins (DEN_ORIGINS), transport.Options.Origins"}
		if name := forwarded(r, "X-Forwarded-Host"); name != "" && !h.opts.trusts(r.RemoteAddr) {
			attrs = append(attrs, "forwarded_host", shown(name),
				"believe", "den -trusted-proxies (DEN_TRUSTED_PROXIES), transport.Options.TrustedProxies")
		}
		h.opts.Logger.Warn("a page was refused: its origin is neither the server's own nor allowed", attrs...)
	}
	return &refusal{http.StatusForbidden, syncproto.CodeForbiddenOrigin, "Pages of this origin may not use this server."}
}
