package transport

import (
	"slices"
	"testing"
)

// A table gives the sockets that are due, those in the slots after others that are not due too, as many at a time as fit, and each slot once
// more to who comes next.
func TestTableExpired(t *testing.T) {
	var table table
	all := make([]*socket, 6)
	for i, due := range []int64{10, 50, 10, 20, 50, 20} {
		all[i] = new(socket)
		table.add(all[i], due)
	}
	table.remove(all[2])
	for _, c := range []struct {
		now  int64
		fit  int
		want [][]*socket
	}{
		{9, 4, [][]*socket{{}}},
		{10, 4, [][]*socket{{all[0]}}},
		{20, 4, [][]*socket{{all[0], all[3], all[5]}}},
		{20, 2, [][]*socket{{all[0], all[3]}, {all[5]}}},
		{20, 3, [][]*socket{{all[0], all[3], all[5]}}},
		{50, 2, [][]*socket{{all[0], all[1]}, {all[3], all[4]}, {all[5]}}},
	} {
		slot := 0
		for n, want := range c.want {
			var got []*socket
			got, slot = table.expired(slot, c.now, make([]*socket, 0, c.fit))
			if last := n == len(c.want)-1; !slices.Equal(got, want) || (slot < 0) != last {
				t.Fatalf("at %d, %d at a time, part %d: %d sockets, then slot %d; want %d sockets", c.now, c.fit, n, len(got), slot, len(want))
			}
		}
	}
	late := new(socket)
	table.add(late, 5)
	if table.at(2) != late || table.len() != 6 {
		t.Errorf("the free slot has %p; the table has %d sockets", table.at(2), table.len())
	}
}
