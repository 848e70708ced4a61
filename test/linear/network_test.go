package linear

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
)

// A network gives a client connections that break by themselves, most of them, in the middle of what is written or
// read. One connection is made at a time; each is safe from any goroutine.
type network struct {
	rng  *rand.Rand
	http http.Client
}

func newNetwork(rng *rand.Rand) *network {
	n := &network{rng: rng}
	n.http.Transport = &http.Transport{DialContext: n.dial, DisableKeepAlives: true}
	return n
}

// longestLife is how many bytes may pass before a connection breaks, in either direction.
const longestLife = 8_000

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	return &brittle{Conn: conn, reads: 1 + n.rng.IntN(longestLife), writes: 1 + n.rng.IntN(longestLife)}, nil
}

// A brittle connection resets itself when it has carried so many bytes.
type brittle struct {
	net.Conn

	mu            sync.Mutex
	reads, writes int // bytes that are left; protected by mu
}

func (b *brittle) Read(data []byte) (int, error) {
	n, err := b.Conn.Read(data)
	if left := b.take(&b.reads, n); left < n {
		b.reset()
		return left, net.ErrClosed
	}
	return n, err
}

// Write lets through what the connection may carry yet, and breaks it there.
func (b *brittle) Write(data []byte) (int, error) {
	n := b.take(&b.writes, len(data))
	if n == len(data) {
		return b.Conn.Write(data)
	}
	n, _ = b.Conn.Write(data[:n]) // what follows is an error anyway
	b.reset()
	return n, net.ErrClosed
}

// take takes up to n bytes off what is left.
func (b *brittle) take(left *int, n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, *left)
	*left -= n
	return n
}

// reset closes without a farewell: what is on its way in either direction is lost.
func (b *brittle) reset() {
	if tcp, ok := b.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails where the connection has ended already
	}
	_ = b.Conn.Close() // it may be closed already
}
