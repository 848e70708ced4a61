package linear

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"go.uber.org/goleak"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/transport"
)

var (
	seedFlag = flag.Uint64("seed", 0, "repeat the choices of a run of TestInvariantOrderedLinearizable")
	forFlag  = flag.Duration("linear.for", 3*time.Second, "how long the clients of TestInvariantOrderedLinearizable work")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	rooms            = 3
	clientsPerRoom   = 6
	operationsPerKey = 200
	longestCalm      = 60 * time.Millisecond // between two ends of lives
	checkTime        = 2 * time.Minute       // for one room's history; it takes milliseconds
	calm             = 0                     // the room whose life nobody ends
	longestRun       = 10 * time.Second      // a soak is cut into runs, each with rooms of its own
)

// slots are the keys that a room has at a time, by kind.
var slots = []string{"register", "register", "counter", "counter", "set"}

// keys gives out the keys of a room, each for so many operations.
type keys struct {
	used []atomic.Int64 // operations on each slot
}

func (k *keys) next(slot int) string {
	n := k.used[slot].Add(1) - 1
	return fmt.Sprintf("%s%d.%d", slots[slot], slot, n/operationsPerKey)
}

// TestInvariantOrderedLinearizable: what concurrent clients are told is what one after another would have been told,
// whatever breaks under way; and an action that was sent again counts once.
func TestInvariantOrderedLinearizable(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("again with -seed %d", seed)
	var total tally
	for part := uint64(0); *forFlag > total.took && !t.Failed(); part++ {
		for _, fault := range newRun(t, seed, part).do(min(*forFlag-total.took, longestRun), &total) {
			t.Error(fault)
		}
	}
	t.Logf("%v: %d operations answered, %d of them tried again; %d left open, %d refused; %d lives ended; checked in %v",
		total.took.Round(time.Millisecond), total.answered, total.retried, total.open, total.refused, total.lives, total.checking.Round(time.Millisecond))
	if total.retried == 0 || total.open == 0 || total.lives == 0 {
		t.Error("nothing was tried again, left open or interrupted: the run shows nothing")
	}
}

type tally struct {
	answered, retried, open, refused, lives int
	took, checking                          time.Duration
}

// A run is a server, and clients that work against it for a while.
type run struct {
	t       *testing.T
	host    *room.Host
	url     string
	stop    func() // the server
	began   time.Time
	took    time.Duration
	rng     *rand.Rand
	clients [rooms][]*client
	lives   int

	mu     sync.Mutex
	faults []string // protected by mu
}

func newRun(t *testing.T, seed, part uint64) *run {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, part))
	r := &run{t: t, began: time.Now(), rng: rng}
	r.serve()
	for i := range rooms {
		k := &keys{used: make([]atomic.Int64, len(slots))}
		for n := range clientsPerRoom {
			c := r.client(i, n, k, newNetwork(rand.New(rand.NewPCG(rng.Uint64(), 0))), rand.New(rand.NewPCG(rng.Uint64(), 1)))
			c.numbered = n%2 == 0
			r.clients[i] = append(r.clients[i], c)
		}
	}
	return r
}

func (r *run) client(i, number int, k *keys, network *network, rng *rand.Rand) *client {
	address := fmt.Sprintf("%s/parties/%s/%s", strings.Replace(r.url, "http", "ws", 1), namespace, r.key(i).Room)
	return &client{number: number, address: address, keys: k, rng: rng, network: network, began: r.began, seen: map[string]int64{}}
}

func (r *run) key(i int) room.Key {
	return room.Key{Namespace: namespace, Room: fmt.Sprintf("room%d", i)}
}

func (r *run) serve() {
	r.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	host, err := room.Open(room.Options{Dir: r.t.TempDir(), Logger: quiet})
	if err == nil {
		err = register(host)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	handler, err := transport.NewHandler(host, transport.Options{Logger: quiet})
	if err != nil {
		r.t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	r.host, r.url = host, server.URL
	r.stop = func() {
		if err := handler.Shutdown(context.Background()); err != nil {
			r.fault("shutting down: %v", err)
		}
		server.Close()
	}
}

func (r *run) fault(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

// do lets the clients work for a while, judges what they were told, and gives the faults.
func (r *run) do(long time.Duration, total *tally) []string {
	r.t.Helper()
	r.work(long)
	r.lastReads()
	r.stop()
	r.check(total)
	return r.faults
}

// work lets all clients work for a while, and ends lives of rooms meanwhile.
func (r *run) work(long time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	var all sync.WaitGroup
	for _, clients := range r.clients {
		for _, c := range clients {
			all.Go(func() {
				if err := c.run(ctx); err != nil {
					r.fault("%v", err)
					cancel()
				}
			})
		}
	}
	r.unrest(ctx)
	all.Wait()
	r.took = time.Since(r.began)
}

// unrest ends lives of rooms until ctx ends, in good order or not.
func (r *run) unrest(ctx context.Context) {
	for ctx.Err() == nil {
		end := r.host.Sleep
		if r.rng.IntN(2) == 0 {
			end = inner.OfHost(r.host).Crash
		}
		if err := end(context.WithoutCancel(ctx), r.key(r.rng.IntN(rooms))); err != nil {
			r.fault("ending a life: %v", err)
		}
		r.lives++
		timer := time.NewTimer(time.Duration(r.rng.Int64N(int64(longestCalm))))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// lastReads reads every key once more when all is quiet, so that the last write of each is looked for too.
func (r *run) lastReads() {
	r.t.Helper()
	for i, clients := range r.clients {
		reader := r.client(i, clientsPerRoom, nil, &network{http: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}, r.rng)
		reader.rename()
		done := map[string]bool{}
		for _, c := range clients {
			for _, o := range c.history {
				in := o.Input.(input)
				if done[in.Key] {
					continue
				}
				done[in.Key] = true
				look := input{read, request{Key: in.Key}}
				if strings.HasPrefix(in.Key, "set") {
					look.verb = list
				}
				reader.serial++
				if err := reader.do(context.Background(), look); err != nil {
					r.fault("last reads: %v", err)
				}
			}
		}
		reader.hangUp()
		r.clients[i] = append(clients, reader)
	}
}

func (r *run) check(total *tally) {
	total.took += r.took
	total.lives += r.lives
	start := time.Now()
	for i, clients := range r.clients {
		var history []porcupine.Operation
		for _, c := range clients {
			history = append(history, c.history...)
			total.answered += c.answered
			total.retried += c.retried
			total.open += c.open
			total.refused += c.refuse
		}
		r.judge(i, history)
	}
	total.checking += time.Since(start)
}

// judge checks the history of one room, and shows that of the first key that is at fault.
func (r *run) judge(i int, history []porcupine.Operation) {
	if got := porcupine.CheckOperationsTimeout(model(), history, checkTime); got == porcupine.Ok {
		return
	} else if got == porcupine.Unknown {
		r.fault("room %d: %d operations could not be judged in %v", i, len(history), checkTime)
		return
	}
	for _, part := range byKey(history) {
		verdict, info := porcupine.CheckOperationsVerbose(model(), part, checkTime)
		if verdict != porcupine.Illegal {
			continue
		}
		slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
		var told strings.Builder
		for _, o := range part {
			fmt.Fprintf(&told, "client %d %9d … %9d  %v → %v\n", o.ClientId, o.Call/1000, min(o.Return, int64(r.took))/1000, o.Input, o.Output)
		}
		r.fault("room %d: no order explains these operations (times in µs):\n%s", i, &told)
		r.picture(info)
		return
	}
}

// picture leaves a page that shows the fault, where `go test -artifacts` keeps it.
func (r *run) picture(info porcupine.LinearizationInfo) {
	r.t.Helper()
	file, err := os.Create(filepath.Join(r.t.ArtifactDir(), "history.html"))
	if err != nil {
		r.t.Error(err)
		return
	}
	defer file.Close()
	if err := porcupine.Visualize(model(), info, file); err != nil {
		r.t.Error(err)
	}
}
