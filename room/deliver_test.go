package room

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/denrooms/den/hibernate"
)

// noted is a link that writes down what comes.
type noted struct{ got []string }

func (n *noted) Send(frames ...*hibernate.Frame) {
	for _, f := range frames {
		n.got = append(n.got, string(f.Payload()))
	}
}
func (n *noted) Close(code int, _ string) { n.got = append(n.got, fmt.Sprint("close ", code)) }

// Whatever shortcuts deliver takes, each connection must get what a plain walk over
// the deliveries would give it, in the same order.
func TestInvariantOrderedDeliver(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		links := make([]*noted, 1+rng.IntN(6))
		all := make([]*hibernate.Connection, len(links))
		for i := range links {
			links[i] = &noted{}
			all[i] = &hibernate.Connection{Serial: uint64(i), Link: links[i]}
		}
		some := all[:1+rng.IntN(len(all))]
		want := make([][]string, len(links))
		closed := make([]bool, len(links))
		var out []delivery
		for n := range rng.IntN(8) {
			text := fmt.Sprint("m", n)
			d := delivery{frames: []*hibernate.Frame{hibernate.TextFrame(8, func(dst []byte) []byte { return append(dst, text...) })}}
			switch rng.IntN(4) {
			case 0:
				d.to = all
			case 1:
				d.to = some
			case 2:
				d.to = all
				d.except = all[rng.IntN(len(all))]
			case 3:
				i := rng.IntN(len(all))
				d.to = all[i : i+1]
			}
			if rng.IntN(10) == 0 {
				d.code = 4000
			}
			for _, c := range d.to {
				if c == d.except || closed[c.Serial] {
					continue
				}
				want[c.Serial] = append(want[c.Serial], text)
				if d.code != 0 {
					want[c.Serial] = append(want[c.Serial], "close 4000")
					closed[c.Serial] = true
				}
			}
			out = append(out, d)
		}
		courier{func(*hibernate.Connection, any, []byte) { t.Error("a link panicked") }}.deliver(out)
		for i, l := range links {
			got, _, _ := strings.Cut(strings.Join(l.got, " ")+" ", "close 4000")
			expected, _, _ := strings.Cut(strings.Join(want[i], " ")+" ", "close 4000")
			if got != expected || closed[i] != strings.Contains(strings.Join(l.got, " "), "close") {
				t.Fatalf("seed %d: connection %d of %d got %v, want %v", seed, i, len(all), l.got, want[i])
			}
		}
	}
}
