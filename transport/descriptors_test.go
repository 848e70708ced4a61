package transport

import (
	"strings"
	"testing"
)

// Sockets and rooms share the process's descriptors: too many of both is told at the start, and
// the default is what fits.
func TestInvariantBoundedDescriptors(t *testing.T) {
	for _, c := range []struct {
		limit, rooms, most int
		want               int // 0: refused
	}{
		{0, 8256, 0, 100_000},
		{20_000, 8256, 0, 11_744},
		{1_000_000, 8256, 0, 100_000},
		{1024, 512, 512, 512},
		{1024, 512, 513, 0},
		{0, 512, 1 << 20, 1 << 20},
		{1024, 512, -1, -1},
	} {
		o := Options{MaxConnections: c.most}
		err := o.fitConnections(c.limit, c.rooms)
		if c.want == 0 {
			if err == nil || !strings.Contains(err.Error(), "ulimit") {
				t.Errorf("%+v: got %v", c, err)
			}
			continue
		}
		if err != nil || o.MaxConnections != c.want {
			t.Errorf("%+v: got %d, %v", c, o.MaxConnections, err)
		}
	}
}
