package syncproto

import "testing"

// TestUnescapeAppends has the limit be that of the text alone, whatever stands before it.
func TestUnescapeAppends(t *testing.T) {
	before := []byte("what was there")
	for limit, want := range map[int]string{0: "", 1: "", 2: "", 3: "what was therea\u00e9", 4: "what was therea\u00e9"} {
		out, ok := unescape(before, []byte(`a\u00e9`), limit)
		if ok != (want != "") || ok && string(out) != want {
			t.Errorf("at most %d bytes: %q, %v, want %q", limit, out, ok, want)
		}
	}
}
