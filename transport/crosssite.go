package transport

import (
	"net/http"
	"slices"
	"strings"
)

// Plain requests that a foreign page makes its visitor's browser send. Many have no Origin: those for a
// picture, a script, a link. The browser adds the visitor's cookies to all of them, so they
// would act in the visitor's name. Sec-Fetch-Site says that a request comes from a foreign page. Browsers
// send it over HTTPS and to localhost only.

// crossSite reports whether a request that may change something comes from a foreign page,
// by the rules of net/http. It does not check pages that the operator allows.
func crossSite(asked *http.Request, v verdict) bool {
	if v != originNone && v != originSame {
		return false
	}
	return new(http.CrossOriginProtection).Check(asked) != nil
}

// withoutCredentials returns r without the credentials that the browser added, if r comes from a page that is not
// allowed by name. Otherwise it returns r.
func (h *Handler) withoutCredentials(r *http.Request, v verdict) *http.Request {
	foreign := v == originAny || v == originNone && r.Header.Get("Sec-Fetch-Site") == "cross-site" && !followed(r)
	if !foreign {
		return r
	}
	cookies, signed := r.Header["Cookie"] != nil, browserSigned(r)
	if !cookies && !signed {
		return r
	}
	if h.refused.due("cookies", h.now()) {
		h.opts.Logger.Info("a foreign page's request is served without its visitor's cookies and credentials", "path", shown(r.URL.Path),
			"referer", shown(r.Header.Get("Referer")), "remote", r.RemoteAddr, "allow", "den -origins (DEN_ORIGINS), transport.Options.Origins, for a fetch in CORS mode")
	}
	r = r.Clone(r.Context())
	r.Header.Del("Cookie")
	if signed {
		r.Header.Del("Authorization")
	}
	return r
}

// followed reports whether the visitor has followed a link in a foreign page, or in a mail. The answer then fills the
// window, so the foreign page does not see it. Browsers send cookies with SameSite=Lax in this case too.
func followed(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" &&
		r.Header.Get("Sec-Fetch-User") == "?1"
}

// browserSigned reports whether a request has credentials that browsers store and add by themselves. A Bearer token
// is not one of them: the page itself adds it.
func browserSigned(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Authorization"), func(value string) bool {
		scheme, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		return slices.ContainsFunc([]string{"Basic", "Digest", "Negotiate", "NTLM"}, func(s string) bool { return strings.EqualFold(s, scheme) })
	})
}
