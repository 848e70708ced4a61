package edges

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/transport"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "repeat the choices of a run of TestEdges (not its moments)")
	forFlag     = flag.Duration("edges.for", 4*time.Second, "how long the hostile clients are there; the honest ones are alone for a third of it before")
	hostileFlag = flag.Int("edges.hostile", 24, "hostile clients")
	honestFlag  = flag.Int("edges.honest", 12, "honest clients")
	ratioFlag   = flag.Float64("edges.ratio", 0, "the most that the honest clients' 99th percentile may grow by; 0: it is printed only")
	heapFlag    = flag.Uint64("edges.heap", 1<<30, "the most bytes that the heap of server and honest clients may have")
	onlyFlag    = flag.String("edges.only", "", "a part of the names of the strategies that the hostile clients draw from; empty: all")
)

func TestMain(m *testing.M) {
	if os.Getenv(taskVariable) != "" {
		os.Exit(beHostile())
	}
	goleak.VerifyTestMain(m)
}

// sharedRooms are those that honest and hostile clients are in; each honest client of the other half has its peers only.
const sharedRooms, quietRooms = 4, 4

// TestEdges: what 200 hostile clients do is not the honest ones' trouble.
func TestEdges(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with -seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	before := census(t)
	s := serve(t)
	clients := s.honest(*honestFlag, rng)
	foes := hire(t, task{
		Address: strings.TrimPrefix(s.url, "http://"), Clients: *hostileFlag, Seed: seed, Rooms: names("shared", sharedRooms), Only: *onlyFlag,
	})
	if _, err := s.work(clients, time.Second); err != nil { // the rooms and the connections begin; nothing of it is measured
		t.Fatal(err)
	}
	alone, err := s.work(clients, max(*forFlag/3, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := foes.begin(); err != nil {
		t.Fatal(err)
	}
	beside, err := s.work(clients, *forFlag)
	if err != nil {
		t.Error(err)
	}
	tried, err := foes.end()
	if err != nil {
		t.Errorf("the process of hostile clients: %v", err)
	}
	s.judge(clients)
	s.stop()
	report(t, alone, beside, tried)
	before.compare(t)
}

// server is a host with a handler.
type server struct {
	t    *testing.T
	url  string
	stop func()
}

func serve(t *testing.T) *server {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	host, err := room.Open(room.Options{Dir: t.TempDir(), Logger: quiet})
	if err == nil {
		err = register(host)
	}
	if err != nil {
		t.Fatal(err)
	}
	handler, err := transport.NewHandler(host, transport.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(handler)
	return &server{t: t, url: s.URL, stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := handler.Shutdown(ctx); err != nil {
			t.Errorf("shutting down: %v", err)
		}
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	}}
}

func names(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(prefix, i))
	}
	return all
}

// honest makes the honest clients: every other one is in a room that hostile clients enter.
func (s *server) honest(n int, rng *rand.Rand) (all []*honest) {
	for i := range n {
		name := fmt.Sprint("quiet", i/2%quietRooms)
		if i%2 == 0 {
			name = fmt.Sprint("shared", i/2%sharedRooms)
		}
		all = append(all, &honest{
			name: fmt.Sprint("honest", i), url: strings.Replace(s.url, "http", "ws", 1) + "/parties/" + namespace + "/" + name,
			rng: rand.New(rand.NewPCG(rng.Uint64(), uint64(i))),
		})
	}
	return all
}

// figures are what a phase has shown.
type figures struct {
	shared, quiet []time.Duration // ascending
	cut           int
	heap          uint64 // the most that was seen
}

func p99(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return all[len(all)*99/100]
}

// work lets the honest clients work for a time.
func (s *server) work(clients []*honest, long time.Duration) (figures, error) {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	var all sync.WaitGroup
	failed := make(chan error, len(clients))
	for _, c := range clients {
		c.took, c.cut = nil, 0
		all.Go(func() {
			if err := c.run(ctx); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	var f figures
	for ctx.Err() == nil {
		f.heap = max(f.heap, heap())
		pause(ctx, 50*time.Millisecond)
	}
	all.Wait()
	close(failed)
	for i, c := range clients {
		f.cut += c.cut
		if i%2 == 0 {
			f.shared = append(f.shared, c.took...)
		} else {
			f.quiet = append(f.quiet, c.took...)
		}
	}
	slices.Sort(f.shared)
	slices.Sort(f.quiet)
	return f, <-failed
}

func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// judge looks whether what each room holds is what its honest clients were told, and ends their connections.
func (s *server) judge(clients []*honest) {
	s.t.Helper()
	for _, c := range clients {
		n, err := s.score(c)
		if err != nil || n != c.applied {
			s.t.Errorf("%s has %d in the room, and was told %d (%v)", c.name, n, c.applied, err)
		}
		c.hangUp()
	}
}

// score asks for what the room holds of a client, as often as it has to: what hostile clients have sent last may be in
// work still, and end the room's life.
func (s *server) score(c *honest) (n int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		if n, err = s.read(ctx, c); err == nil {
			return n, nil
		}
		pause(ctx, 20*time.Millisecond)
	}
	return 0, err
}

// read reads what the room holds of a client, over a connection of its own.
func (s *server) read(ctx context.Context, c *honest) (int64, error) {
	conn, _, err := websocket.Dial(ctx, c.url, nil)
	if err != nil {
		return 0, err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(64 << 20)
	if err := conn.Write(ctx, websocket.MessageText, []byte(`{"sync":true,"channel":"scores","cursor":null}`)); err != nil {
		return 0, err
	}
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return 0, err
		}
		var m struct {
			Sync    bool
			Cursor  string
			Payload [][]any
		}
		if json.Unmarshal(data, &m) != nil || !m.Sync {
			continue
		}
		for _, row := range m.Payload {
			if len(row) > 1 && row[0] == c.name {
				n, _ := row[1].(float64)
				return int64(n), nil
			}
		}
		if m.Cursor != "" {
			return 0, nil
		}
	}
}

func report(t *testing.T, alone, beside figures, tried map[string]int) {
	t.Helper()
	for _, s := range chosen(*onlyFlag) {
		t.Logf("%5d × %s", tried[s.name], s.name)
	}
	ratio := func(what string, with, without []time.Duration) {
		r := float64(p99(with)) / float64(max(p99(without), 1))
		t.Logf("%s rooms: p99 %v alone (%d answers), %v beside %d hostile clients (%d answers): ratio %.2f",
			what, p99(without), len(without), p99(with), *hostileFlag, len(with), r)
		if *ratioFlag > 0 && r > *ratioFlag {
			t.Errorf("%s rooms: the ratio is %.2f, at most %.2f is wanted", what, r, *ratioFlag)
		}
	}
	ratio("shared", beside.shared, alone.shared)
	ratio("quiet", beside.quiet, alone.quiet)
	t.Logf("heap: %d MiB alone, %d MiB beside them", alone.heap>>20, beside.heap>>20)
	if len(beside.shared) == 0 || len(beside.quiet) == 0 {
		t.Error("no honest client got an answer")
	}
	if n := alone.cut + beside.cut; n > 0 {
		t.Errorf("honest clients were cut off %d times", n)
	}
	if beside.heap > *heapFlag {
		t.Errorf("the heap had %d MiB, at most %d are wanted", beside.heap>>20, *heapFlag>>20)
	}
}

// A count is how much of what a process has to give back it has.
type count struct{ goroutines, descriptors int }

func census(t *testing.T) count {
	t.Helper()
	return count{runtime.NumGoroutine(), descriptors(t)}
}

// compare waits until all is given back.
func (before count) compare(t *testing.T) {
	t.Helper()
	var now count
	for range 200 {
		if now = census(t); now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			return
		}
		pause(context.Background(), 50*time.Millisecond)
	}
	t.Errorf("%d goroutines and %d descriptors, before there were %d and %d", now.goroutines, now.descriptors, before.goroutines, before.descriptors)
}
