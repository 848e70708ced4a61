package transport

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A check for a hang-up that was about to run when it is stopped does not run, and does not set the next one: who has stopped the
// checks may close the connection, or has a reader on it.
func TestHangUpTimerStoppedInTime(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	l := onHangUp(ours, 200*time.Millisecond, func() { t.Error("nobody has hung up") })
	l.mu.Lock()
	stopped := make(chan struct{})
	go func() { // it ends after stop, for which it waits
		l.stop()
		close(stopped)
	}()
	eventually(t, "stop to wait for the lock", func() bool { return waitsForLock("(*hangUpTimer).stop") })
	if waitsForLock("onHangUp.func") {
		t.Skip("the machine is too slow: the check came before")
	}
	eventually(t, "the check to wait behind it", func() bool { return waitsForLock("onHangUp.func") })
	l.mu.Unlock()
	<-stopped
	eventually(t, "the check to end", func() bool { return !strings.Contains(stacks(), "onHangUp.func") })
	if l.timer.Stop() {
		t.Error("the next check was set")
	}
}

// waitsForLock reports whether a goroutine that runs a function waits for a mutex.
func waitsForLock(function string) bool {
	for goroutine := range strings.SplitSeq(stacks(), "\n\n") {
		if strings.Contains(goroutine, function) && strings.Contains(goroutine, "sync.Mutex.Lock") {
			return true
		}
	}
	return false
}

// stacks are those of all goroutines.
func stacks() string {
	b := make([]byte, 4<<20)
	return string(b[:runtime.Stack(b, true)])
}
