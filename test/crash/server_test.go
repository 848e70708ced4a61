package crash

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// startTime is how long a server may take to listen. It is a limit for a broken one, not a wait.
const startTime = 30 * time.Second

var listening = regexp.MustCompile(`msg=listening\b.*\burl="?(http://[^\s"]+)`)

// build makes the binary that is killed: without the race detector, as users run it.
func build(t *testing.T) string {
	t.Helper()
	if built := os.Getenv("DEN_BINARY"); built != "" {
		return built
	}
	binary := filepath.Join(t.TempDir(), "den")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", binary, "github.com/denrooms/den/cmd/den")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// A server is a den process of this test's own.
type server struct {
	cmd  *exec.Cmd
	base string
	done chan struct{} // closed when the process's log has ended

	mu  sync.Mutex
	log []string // protected by mu
}

func startServer(binary, data string) (*server, error) {
	s := &server{done: make(chan struct{})}
	s.cmd = exec.Command(binary, "--addr", "127.0.0.1:0", "--data", data)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go s.read(stderr, ready) // ends with the process
	timeout := time.NewTimer(startTime)
	defer timeout.Stop()
	select {
	case s.base = <-ready:
		return s, nil
	case <-s.done:
		err = fmt.Errorf("den ended: %w\n%s", s.cmd.Wait(), s.logText())
	case <-timeout.C:
		s.kill()
		err = fmt.Errorf("den does not listen after %v\n%s", startTime, s.logText())
	}
	return nil, err
}

func (s *server) read(stderr io.Reader, ready chan<- string) {
	defer close(s.done)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		s.mu.Lock()
		s.log = append(s.log, lines.Text())
		s.mu.Unlock()
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			ready <- found[1]
		}
	}
}

func (s *server) logText() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, "\n")
}

// kill ends the process as kill -9 does: it gets no chance to do anything.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // fails only if it has ended
	<-s.done
	_ = s.cmd.Wait() // "signal: killed"
}

// complaints are the lines of the log that a server in good order does not write.
func (s *server) complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bad []string
	for _, line := range s.log {
		if strings.Contains(line, "level=ERROR") || strings.HasPrefix(line, "panic") || strings.HasPrefix(line, "fatal error") {
			bad = append(bad, line)
		}
	}
	return bad
}
