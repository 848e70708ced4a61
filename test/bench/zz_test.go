package bench
import ("testing";"context";"strings"
"github.com/denrooms/den/room")
func BenchmarkZMany(b *testing.B) {
	host, _ := den(b)
	replies := make(tick, 1024)
	session, _ := host.Connect(context.Background(), room.Key{Namespace: "todos", Room: "flight"}, room.ConnectRequest{ID: "bench", Link: replies})
	text := strings.Repeat("x", 100)
	var ms [][]byte
	for i := range b.N { ms = append(ms, create(i, text)) }
	b.ResetTimer()
	for i, m := range ms { session.Receive(m, false); if i >= 255 { <-replies } }
}
