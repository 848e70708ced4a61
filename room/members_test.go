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

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// Den's list of a room's connections is that of the sockets that are open, whatever happened to those that came.

// hookLimit is the ActionTimeout of a house.
const hookLimit = 5 * time.Second

// A gate lets clients in and out at random.
type gate struct {
	*house
	rng  *rand.Rand
	next int

	mu      sync.Mutex
	here    map[string]*room.Session
	history []string // what happened, for the log of a test that fails
}

func (g *gate) note(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.history = append(g.history, fmt.Sprintf(format, args...))
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
			g.note("%s comes: %v", id, err)
			if err == nil {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.here[id] = s
			}
		})
	}
	came := make(chan error, 1)
	go func() { all.Wait(); came <- inner.OfHost(g).Quiet(g.t.Context()) }()
	g.await(came)
}

// await waits until done. Time passes only while a hook hangs: no other hook of the room is in work then. If time passed at other
// moments, an OnClose that is slow in real time would take too long in virtual time; the room does not run it again, and its client
// stays in the list.
func (g *gate) await(done <-chan error) {
	g.t.Helper()
	for {
		select {
		case err := <-done:
			if err != nil {
				g.t.Fatal(err)
			}
			return
		case <-g.desk.entered:
			g.clock.Advance(hookLimit) // its time is over
			g.clock.Advance(hookLimit) // the room gives it up
		}
	}
}

// calm waits until nothing is under way.
func (g *gate) calm() {
	g.t.Helper()
	done := make(chan error, 1)
	go func() { done <- inner.OfHost(g).Quiet(g.t.Context()) }()
	g.await(done)
}

// leave has some of them go, and perhaps ends the room's life.
func (g *gate) leave() {
	for id, s := range g.here {
		if g.rng.IntN(3) == 0 {
			g.note("%s goes", id)
			s.Close(1000, "")
			delete(g.here, id)
		}
	}
	switch g.rng.IntN(4) {
	case 0:
		g.note("the room's life ends without a last turn")
		_ = inner.OfHost(g).Crash(g.t.Context(), mainHall)
	case 1:
		g.note("the room sleeps")
		_ = g.Sleep(g.t.Context(), mainHall)
	}
}

// check compares the lists, when nothing is under way.
func (g *gate) check() {
	g.t.Helper()
	g.calm()
	for range 25 { // what is tried again later, and the grace; in steps in which no hook can take too long
		g.clock.Advance(hookLimit - time.Second)
		g.calm()
	}
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
				g.note("the lists are compared; OnClose was told of %q", g.desk.take())
				if t.Failed() {
					t.Log("the history:\n" + strings.Join(g.history, "\n"))
					return
				}
			}
		})
	}
}
