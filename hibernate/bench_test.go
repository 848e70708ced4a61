package hibernate

import (
	"fmt"
	"testing"
)

// BenchmarkRegistry: what the connections of a room cost to be found, and one to come and go,
// among 10,000 rooms: of a room with one connection and of one with a hundred.
func BenchmarkRegistry(b *testing.B) {
	var r Registry
	n := r.Rooms()
	for i := range 10_000 {
		n.Add(newcomer(&r, fmt.Sprint("room", i)))
	}
	for range 100 {
		n.Add(newcomer(&r, "crowd"))
	}
	for _, room := range []string{"room77", "crowd"} {
		b.Run("connections/"+room, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n.Connections(room)
			}
		})
	}
	for _, room := range []string{"new", "room77", "crowd"} {
		b.Run("come-and-go/"+room, func(b *testing.B) {
			b.ReportAllocs()
			c := newcomer(&r, room)
			for b.Loop() {
				n.Add(c)
				n.Remove(c)
			}
		})
	}
}
