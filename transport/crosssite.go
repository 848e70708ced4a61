package transport

import (
	"net/http"
	"slices"
	"strings"
)

// Plain requests that a foreign page makes its visitor's browser send. Many come without an Origin: a
// picture, a script, a link. The browser adds the visitor's cookies to them all, so they
// would act in the visitor's name. That a request comes from a foreign page the browser says in
// Sec-Fetch-Site, though not to a server that it reaches over plain HTTP by another name than localhost.

// forged reports whether a request that may change something comes from another page than one
// of this server's, by the rules of net/http. Pages that the operator lets in are not asked for.
func forged(asked *http.Request, v verdict) bool {
	if v != originNone && v != originSame {
		return false
	}
	return new(http.CrossOriginProtection).Check(asked) != nil
}

// anonymous is a plain request without what the browser has added to it, if it comes from a page that is not let in
// by name; otherwise it is r.
func (h *Handler) anonymous(r *http.Request, v verdict) *http.Request {
	foreign := v == originAny || v == originNone && r.Header.Get("Sec-Fetch-Site") == "cross-site" && !followed(r)
	if !foreign {
		return r
	}
	cookies, signed := r.Header["Cookie"] != nil, browserSigned(r)
	if !cookies && !signed {
		return r
	}
	if h.refused.due("cookies", h.now()) {
		h.opts.Logger.Info("a foreign page's request was taken without its visitor's cookies", "path", shown(r.URL.Path),
			"referer", shown(r.Header.Get("Referer")), "remote", r.RemoteAddr, "allow", "den -origins (DEN_ORIGINS), transport.Options.Origins, for a fetch in CORS mode")
	}
	r = r.Clone(r.Context())
	r.Header.Del("Cookie")
	if signed {
		r.Header.Del("Authorization")
	}
	return r
}

// followed reports whether the visitor has followed a link in a foreign page, or in a mail: what it opens fills the
// window, so that the foreign page does not see it. Cookies with SameSite=Lax are sent then, too.
func followed(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" &&
		r.Header.Get("Sec-Fetch-User") == "?1"
}

// browserSigned reports whether a request has credentials that browsers remember and add by themselves. A token
// (Bearer) is not one of them: it is the page's own.
func browserSigned(r *http.Request) bool {
	return slices.ContainsFunc(r.Header.Values("Authorization"), func(value string) bool {
		scheme, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		return slices.ContainsFunc([]string{"Basic", "Digest", "Negotiate", "NTLM"}, func(s string) bool { return strings.EqualFold(s, scheme) })
	})
}
