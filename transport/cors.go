package transport

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What a page of another origin may do over plain HTTP (the Fetch standard's
// CORS protocol). origin.go decides which origins are allowed.

// allow tells the browser that the page may read the answer. It always tells caches
// that the answer depends on the Origin, as every answer under the prefix does.
func (c *CORS) allow(h http.Header, r *http.Request, v verdict) {
	h.Add("Vary", "Origin")
	switch v {
	case originSame, originListed:
		h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
		if c.Credentials {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
	case originAny:
		h.Set("Access-Control-Allow-Origin", "*")
	default:
		return
	}
	if len(c.ExposeHeaders) > 0 {
		h.Set("Access-Control-Expose-Headers", strings.Join(c.ExposeHeaders, ", "))
	}
}

// preflight answers OPTIONS. It wakes no room and authenticates nobody, because
// browsers send no credentials with OPTIONS.
func (c *CORS) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", strings.Join(c.Methods, ", ")+", OPTIONS")
	if r.Header.Get("Access-Control-Request-Method") != "" && h.Get("Access-Control-Allow-Origin") != "" {
		h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Methods", strings.Join(c.Methods, ", "))
		h.Set("Access-Control-Allow-Headers", strings.Join(c.Headers, ", "))
		h.Set("Access-Control-Max-Age", strconv.Itoa(int(c.MaxAge/time.Second)))
	}
	w.WriteHeader(http.StatusNoContent)
}
