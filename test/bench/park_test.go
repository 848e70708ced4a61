//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/transport"
)

// What a quiet WebSocket costs a server. Servers and clients are processes of their own: this
// test binary, started again.

// roleVariable says which of them this process is.
const roleVariable = "DEN_BENCH_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		os.Exit(m.Run())
	case "clients":
		obey(new(crowd).order)
	case "plain":
		obey(new(plainServer).start().order)
	default: // den-always, den-never, den
		obey(newDenServer(role).order)
	}
}

// obey answers each line with one, until the input ends.
func obey(order func(words []string) string) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println(order(strings.Fields(lines.Text())))
	}
	os.Exit(0)
}

// measured answers what any server is asked: its memory in bytes, that of its heap which is in use, the processor time
// that it has used in nanoseconds.
func measured(words []string) string {
	switch words[0] {
	case "heap":
		for range 3 { // pools give their content away with the second
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return strconv.FormatUint(m.HeapAlloc, 10)
	case "rss":
		for range 3 { // pools give their content away with the second
			debug.FreeOSMemory()
		}
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return err.Error()
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		kilobytes, _ := strconv.Atoi(strings.Fields(rest)[0])
		return strconv.Itoa(kilobytes << 10)
	case "cpu":
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return err.Error()
		}
		return strconv.FormatInt(u.Utime.Nano()+u.Stime.Nano(), 10)
	}
	return "what? " + words[0]
}

// A denServer serves the todo fixture.
type denServer struct {
	host    *room.Host
	handler *transport.Handler
	addr    string
}

func newDenServer(role string) *denServer {
	host, err := room.Open(room.Options{Dir: os.Getenv("DEN_BENCH_DIR"), Logger: quiet, Durability: room.Relaxed, Clock: newFastClock()})
	must(err)
	must(todo.Register(host))
	// No ping falls into the measurement: these clients are too simple to answer.
	options := transport.Options{Logger: quiet, PingInterval: time.Hour}
	switch role {
	case "den-always":
		options.ParkAfter = 1
	case "den-never":
		options.ParkAfter = -1
	default:
		options.ParkAfter = 100 * time.Millisecond
	}
	handler, err := transport.NewHandler(host, options)
	must(err)
	return &denServer{host, handler, serve(handler)}
}

func serve(handler http.Handler) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go http.Serve(listener, handler) // ends with the process
	return listener.Addr().String()
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func (s *denServer) order(words []string) string {
	switch words[0] {
	case "addr":
		return s.addr
	case "sleep": // puts the rooms of these names to sleep, when so many sockets are parked
		want, _ := strconv.Atoi(words[1])
		for s.handler.Parked() != want || s.handler.Connections() != want {
			time.Sleep(time.Millisecond)
		}
		for _, name := range words[2:] {
			must(s.host.Sleep(context.Background(), room.Key{Namespace: "todos", Room: name}))
		}
		return strconv.Itoa(s.host.Awake())
	}
	return measured(words)
}

// A plainServer keeps a WebSocket as one would with coder/websocket alone: its handler returns,
// and a goroutine reads.
type plainServer struct{ addr string }

func (s *plainServer) start() *plainServer {
	s.addr = serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer conn.CloseNow()
			for {
				if _, _, err := conn.Read(context.Background()); err != nil {
					return
				}
			}
		}()
	}))
	return s
}

func (s *plainServer) order(words []string) string {
	switch words[0] {
	case "addr":
		return s.addr
	case "sleep": // nothing here can
		return "0"
	}
	return measured(words)
}

// A crowd is clients that have nothing to say.
type crowd struct{ conns []net.Conn }

// order: "dial ADDR ROOM…" opens a socket to each room, "leave" closes all.
func (c *crowd) order(words []string) string {
	if words[0] == "leave" {
		for _, conn := range c.conns {
			conn.Close()
		}
		c.conns = nil
		return "ok"
	}
	for _, name := range words[2:] {
		conn, err := net.Dial("tcp", words[1])
		must(err)
		// An id of 36 characters, as partysocket makes them.
		id := fmt.Sprintf("%08x-1111-4222-8333-123456789abc", len(c.conns))
		fmt.Fprintf(conn, "GET /parties/todos/%s?_pk=%s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nOrigin: http://localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", name, id)
		var answer []byte
		for b := make([]byte, 1); !bytes.HasSuffix(answer, []byte("\r\n\r\n")); answer = append(answer, b...) {
			_, err := io.ReadFull(conn, b)
			must(err)
		}
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) {
			return string(answer[:40])
		}
		c.conns = append(c.conns, conn)
	}
	return "ok"
}

// A process is one of the roles, which ends with the benchmark.
type process struct {
	b   *testing.B
	in  io.Writer
	out *bufio.Reader
}

func start(b *testing.B, role string) *process {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "DEN_BENCH_DIR="+b.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	return &process{b, in, bufio.NewReader(out)}
}

func (p *process) ask(words ...string) string {
	p.b.Helper()
	fmt.Fprintln(p.in, strings.Join(words, " "))
	answer, err := p.out.ReadString('\n')
	if err != nil {
		p.b.Fatalf("%.60s: %v", words, err)
	}
	return strings.TrimSpace(answer)
}

func (p *process) number(words ...string) int64 {
	p.b.Helper()
	answer := p.ask(words...)
	n, err := strconv.ParseInt(answer, 10, 64)
	if err != nil {
		p.b.Fatalf("%.60s: %s", words, answer)
	}
	return n
}

func (p *process) must(words ...string) {
	p.b.Helper()
	if answer := p.ask(words...); answer != "ok" {
		p.b.Fatalf("%.60s: %s", words, answer)
	}
}

// sockets is how many there are at once: DEN_BENCH_SOCKETS, else 15,000 in the full run and
// 1,000 in a short one, and no more than descriptors allow.
func sockets(b *testing.B) int {
	n := fully(15_000, 1000)
	if s := os.Getenv("DEN_BENCH_SOCKETS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	return min(n, int(limit.Max)-1000)
}

// waves calls f for n names in groups: as many come at once, and as many rooms are awake.
func waves(n int, name func(i int) string, f func(came int, names []string)) {
	const wave = 100
	for i := 0; i < n; i += wave {
		var names []string
		for j := i; j < min(i+wave, n); j++ {
			names = append(names, name(j))
		}
		f(i+len(names), names)
	}
}

// A fastClock lets the server's rooms have done after a second what they do after twenty: close
// connections to SQLite that no room has wanted.
type fastClock struct {
	room.Clock
	begin time.Time
}

const (
	timesFaster = 20
	rest        = 25 * time.Second / timesFaster
)

func newFastClock() fastClock { return fastClock{room.SystemClock(), time.Now()} }

func (c fastClock) Now() time.Time { return c.begin.Add(timesFaster * time.Since(c.begin)) }

func (c fastClock) AfterFunc(d time.Duration, f func()) room.Timer {
	return c.Clock.AfterFunc(d/timesFaster, f)
}

// fill has clients open n quiet sockets in waves, and the rooms after each wave go to sleep. name gives a socket's
// room.
func fill(b *testing.B, server, clients *process, n int, name func(i int) string) {
	b.Helper()
	addr := server.ask("addr")
	waves(n, name, func(came int, names []string) {
		clients.must(append([]string{"dial", addr}, names...)...)
		if awake := server.number(append([]string{"sleep", strconv.Itoa(came)}, slices.Compact(names)...)...); awake != 0 {
			b.Fatalf("%d rooms are awake", awake)
		}
	})
}

// BenchmarkSleepingSockets: resident memory of the server for each quiet socket of a room that
// sleeps: in a room of its own, and all in one; next to coder/websocket alone. What
// is there already is measured with no socket, after twenty waves of them have come and gone: threads
// of the system, stacks and the program's own pages are then what they stay.
func BenchmarkSleepingSockets(b *testing.B) {
	n := sockets(b)
	own := func(i int) string { return fmt.Sprintf("room-%06d", i) }
	one := func(int) string { return "the-one-room" }
	cost := func(role string, name func(int) string) float64 {
		server, clients := start(b, role), start(b, "clients")
		for wave := range 20 {
			fill(b, server, clients, 100, func(i int) string { return fmt.Sprintf("warm-%d-%d", wave, i) })
			clients.must("leave")
			server.number("sleep", "0")
		}
		time.Sleep(rest)
		before := server.number("rss")
		fill(b, server, clients, n, name)
		time.Sleep(rest)
		return float64(server.number("rss")-before) / float64(n)
	}
	var ownBytes, oneBytes, plainBytes float64
	for b.Loop() {
		ownBytes, oneBytes, plainBytes = cost("den", own), cost("den", one), cost("plain", one)
	}
	b.ReportMetric(float64(n), "sockets")
	b.ReportMetric(ownBytes, "own-room-B")
	b.ReportMetric(oneBytes, "one-room-B")
	b.ReportMetric(plainBytes, "plain-B")
	b.ReportMetric(ownBytes/plainBytes, "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPlainParked: the heap of the server for each of 1,000 quiet sockets of one room, which sleeps. It
// stands beside the benchmarks of plain_test.go. The resident memory, which matters more, is not the same in any two runs.
func BenchmarkPlainParked(b *testing.B) {
	const n = 1000
	var bytes int64
	for b.Loop() {
		server, clients := start(b, "den"), start(b, "clients")
		one := func(int) string { return "the-one-room" }
		fill(b, server, clients, 100, one)
		clients.must("leave")
		server.number("sleep", "0")
		before := server.number("heap")
		fill(b, server, clients, n, one)
		bytes = server.number("heap") - before
	}
	b.ReportMetric(float64(bytes)/n, "B/socket")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkParkedFirstMessage: what it costs more to send a message over a socket that is parked
// than over one that never is, in the server's processor time and until the answer is
// there. The messages are some that are answered without the room, so that nothing else is in
// it; being parked again is. A short one leaves its socket parked, a long one brings it back.
func BenchmarkParkedFirstMessage(b *testing.B) {
	b.Run("short", func(b *testing.B) { firstMessage(b, 5) })
	b.Run("long", func(b *testing.B) { firstMessage(b, 1000) })
}

// A side is a server with some sockets.
type side struct {
	*process
	conns []*websocket.Conn
	took  []time.Duration
	cpu   int64
}

func newSide(b *testing.B, role string) *side {
	s := &side{process: start(b, role)}
	for range 64 {
		s.conns = append(s.conns, dial(b, "http://"+s.ask("addr")+"/parties/todos/bench"))
	}
	return s
}

// run sends a message over each socket in turn, several times.
func (s *side) run(message []byte) {
	began := s.number("cpu")
	for range 20 {
		for _, conn := range s.conns {
			start := time.Now()
			send(s.b, conn, message)
			if answer := receive(s.b, conn); !bytes.Contains(answer, []byte("bad_message")) {
				s.b.Fatalf("the answer was %s", answer)
			}
			s.took = append(s.took, time.Since(start))
		}
	}
	s.cpu += s.number("cpu") - began
}

func firstMessage(b *testing.B, size int) {
	message := bytes.Repeat([]byte("x"), size)
	parked, plain := newSide(b, "den-always"), newSide(b, "den-never")
	sides := []*side{parked, plain}
	for _, s := range sides { // warm
		s.run(message)
		s.cpu, s.took = 0, nil
	}
	for b.Loop() {
		for range 10 {
			parked.run(message)
			plain.run(message)
		}
	}
	each := func(s *side) float64 { return float64(s.cpu) / float64(len(s.took)) / 1e3 }
	for _, s := range sides {
		slices.Sort(s.took)
	}
	b.ReportMetric(each(parked), "parked-cpu-µs")
	b.ReportMetric(each(plain), "unparked-cpu-µs")
	b.ReportMetric(each(parked)-each(plain), "extra-cpu-µs")
	b.ReportMetric(float64(quantile(parked.took, 0.5).Nanoseconds())/1e3, "parked-p50-µs")
	b.ReportMetric(float64(quantile(plain.took, 0.5).Nanoseconds())/1e3, "unparked-p50-µs")
	b.ReportMetric(float64(quantile(parked.took, 0.5))/float64(quantile(plain.took, 0.5)), "ratio")
	b.ReportMetric(0, "ns/op")
}
