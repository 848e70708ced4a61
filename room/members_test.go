package room_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/room"
)

// Den's list of a room's connections is that of the sockets that are open, whatever happened to those that came.

// A gate lets clients in and out at random.
type gate struct {
	*house
	rng  *rand.Rand
	next int

	mu   sync.Mutex
	here map[string]*room.Session
}

// come has some clients connect at the same time: some hang, some break the room, some are refused, some give up.
func (g *gate) come() {
	var all sync.WaitGroup
	for range 1 + g.rng.IntN(6) {
		g.next++
		id := fmt.Sprint([]string{"plain", "plain", "plain", "stuck", "banned", "breaks"}[g.rng.IntN(6)], g.next)
		ctx, cancel := context.WithCancel(g.t.Context())
		if g.rng.IntN(4) == 0 {
			go cancel() // sooner or later
		}
		all.Go(func() { // the room answers, or is given up by its watch
			defer cancel()
			s, err := g.Connect(ctx, mainHall, room.ConnectRequest{ID: id, Link: new(deaf)})
			if err == nil {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.here[id] = s
			}
		})
	}
	came := make(chan struct{})
	go func() { all.Wait(); close(came) }()
	for over := false; !over; {
		select {
		case <-came:
			over = true
		case <-time.After(time.Millisecond): // real time, because the hooks that hang are in goroutines of their own
			g.clock.Advance(time.Second)
		}
	}
}

// leave has some of them go, and perhaps ends the room's life.
func (g *gate) leave() {
	for id, s := range g.here {
		if g.rng.IntN(3) == 0 {
			s.Close(1000, "")
			delete(g.here, id)
		}
	}
	switch g.rng.IntN(4) {
	case 0:
		_ = g.Crash(g.t.Context(), mainHall)
	case 1:
		_ = g.Sleep(g.t.Context(), mainHall)
	}
}

// check compares the lists, when nothing is under way.
func (g *gate) check() {
	g.t.Helper()
	for range 40 { // what still hangs is given up
		g.clock.Advance(time.Second)
	}
	g.advance(time.Minute)
	var want []string
	for id := range g.here {
		want = append(want, id)
	}
	slices.Sort(want)
	got := strings.Fields(g.ask("/here"))
	slices.Sort(got)
	if !slices.Equal(got, want) || g.Connections() != len(want) {
		g.t.Errorf("the room has %v and the host %d connections, want %v", got, g.Connections(), want)
	}
	if online := strings.Fields(g.online()); len(online) != len(want) {
		g.t.Errorf("online are %v, want %v", online, want)
	}
}

func TestConnectionsAreTheOpenSockets(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &gate{house: newHouse(t), rng: rand.New(rand.NewPCG(uint64(seed), 1)), here: make(map[string]*room.Session)}
			defer close(g.desk.block)
			for range 8 {
				g.come()
				g.leave()
				g.check()
				if t.Failed() {
					return
				}
			}
		})
	}
}
