package edges

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The hostile clients have a process of their own, at the lowest priority that an ordinary user may give. On Linux that is
// SCHED_IDLE: a process of nice 19 still keeps a processor for some milliseconds from one that wakes. What is looked
// for is what they do to the server, not what making their frames costs a machine that has both. So the heap, the
// goroutines and the descriptors that TestEdges counts are the server's and the honest clients'. The process is the test's
// binary again. It is there before the honest clients are measured alone.
//
//	stdin    its task, as JSON; later a line, on which the clients begin; its end, on which they end
//	stdout   a line, when it is ready; at the end how often each strategy was tried, as JSON

// taskVariable is set in the environment of the process of hostile clients.
const taskVariable = "DEN_TEST_EDGES_HOSTILE"

// A task is what the process of hostile clients is to do.
type task struct {
	Address string // of the server
	Clients int
	Seed    uint64
	Rooms   []string
	Only    string // a part of the names of the strategies; empty: all
}

// A foe is the process of hostile clients.
type foe struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// hire starts the process, and returns when it is ready.
func hire(t *testing.T, todo task) *foe {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := &foe{cmd: exec.Command(binary)}
	if chrt, err := exec.LookPath("chrt"); err == nil { // Linux's
		f.cmd = exec.Command(chrt, "--idle", "0", binary)
	} else if nice, err := exec.LookPath("nice"); err == nil {
		f.cmd = exec.Command(nice, "-n", "19", binary)
	}
	f.cmd.Env = append(os.Environ(), taskVariable+"=1")
	f.cmd.Stderr = os.Stderr
	out, err := f.cmd.StdoutPipe()
	if err == nil {
		f.in, err = f.cmd.StdinPipe()
	}
	if err == nil {
		err = f.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.cmd.Process.Kill() }) // where the test has ended early
	f.out = json.NewDecoder(out)
	var ready bool
	if err := json.NewEncoder(f.in).Encode(todo); err != nil {
		t.Fatal(err)
	}
	if err := f.out.Decode(&ready); err != nil || !ready {
		t.Fatalf("the process of hostile clients did not start: %v", err)
	}
	return f
}

// begin lets the clients loose.
func (f *foe) begin() error {
	_, err := io.WriteString(f.in, "true\n")
	return err
}

// end ends the clients, and returns how often each strategy was tried.
func (f *foe) end() (tried map[string]int, err error) {
	err = f.in.Close()
	if err == nil {
		err = f.out.Decode(&tried)
	}
	if ended := f.cmd.Wait(); err == nil {
		err = ended
	}
	return tried, err
}

// beHostile is the process of hostile clients.
func beHostile() int {
	var todo task
	var begin bool
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if in.Decode(&todo) != nil || out.Encode(true) != nil || in.Decode(&begin) != nil {
		fmt.Fprintln(os.Stderr, filepath.Base(os.Args[0]), "is started by TestEdges only with", taskVariable)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with stdin, and the process with it
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var all sync.WaitGroup
	var foes []*hostile
	for i := range todo.Clients {
		h := &hostile{
			name: fmt.Sprintf("foe%d", i), address: todo.Address, rooms: todo.Rooms, does: chosen(todo.Only),
			rng: rand.New(rand.NewPCG(todo.Seed, uint64(i)+1)), tried: map[string]int{},
		}
		foes = append(foes, h)
		all.Go(func() { h.run(ctx) })
	}
	all.Wait()
	tried := map[string]int{}
	for _, h := range foes {
		for name, n := range h.tried {
			tried[name] += n
		}
	}
	if out.Encode(tried) != nil {
		return 1
	}
	return 0
}

// chosen are the strategies whose name contains a text.
func chosen(only string) []strategy {
	return slices.DeleteFunc(strategies(), func(s strategy) bool { return !strings.Contains(s.name, only) })
}
