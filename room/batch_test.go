package room_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/room"
)

// A tally is a link that counts what it is handed at a time: all that one turn has for its client.
type tally struct {
	room.Link

	mu    sync.Mutex
	turns []int // frames
}

func (l *tally) Send(frames ...*room.Frame) {
	l.mu.Lock()
	l.turns = append(l.turns, len(frames))
	l.mu.Unlock()
	l.Link.Send(frames...)
}

// counted puts a tally in front of a client's link.
func (l *tally) counted(r *room.ConnectRequest) { l.Link, r.Link = r.Link, l }

func (l *tally) seen() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int(nil), l.turns...)
}

// TestBatchEndsWithItsBytes: a batch takes 1 MiB of what clients have sent, and short messages as many as have come.
func TestBatchEndsWithItsBytes(t *testing.T) {
	h, p := open(t)
	var observer tally
	alice := h.Join("shop", "r", "alice")
	h.Join("shop", "r", "observer", observer.counted)
	act(alice, "h", "hang", object{})
	<-p.entered
	for i := range 4 {
		act(alice, fmt.Sprint("long", i), "add", object{"id": fmt.Sprint("long", i), "name": strings.Repeat("x", 600<<10)})
	}
	for i := range 20 {
		act(alice, fmt.Sprint("short", i), "add", object{"id": fmt.Sprint("short", i)})
	}
	close(p.block)
	alice.Received()
	if got := fmt.Sprint(observer.seen()); got != "[1 1 1 1 21]" && !strings.HasSuffix(got, " 1 1 1 21]") {
		t.Errorf("the observer got %s frames at a time", got)
	}
}

// TestBatchEndsWithItsTime: a batch takes no further message 10 ms after it began. Who comes before a slow hook does not
// wait for it.
func TestBatchEndsWithItsTime(t *testing.T) {
	h, p := open(t)
	var early tally
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", early.counted)
	act(alice, "h", "hang", object{})
	<-p.entered
	act(bob, "slow", "hang", object{})
	act(alice, "slower", "hang", object{})
	p.block <- struct{}{}
	<-p.entered
	before := len(early.seen())
	h.Clock.Advance(10 * time.Millisecond)
	p.block <- struct{}{}
	<-p.entered
	if len(early.seen()) == before {
		t.Error("a reply waits for the hook behind it")
	}
	close(p.block)
	if e := bob.Next(); e.Kind == "" {
		t.Errorf("got %s", e.Data)
	}
}

// TestBatchEndsForOneThatWaits: a batch with the only message of a client takes no further one of those who have more waiting
// 2 ms after it began.
func TestBatchEndsForOneThatWaits(t *testing.T) {
	h, p := open(t)
	var early tally
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", early.counted)
	act(alice, "h", "hang", object{})
	within(t, p.entered, "the first hook to begin")
	act(bob, "slow", "hang", object{})
	act(alice, "slower", "hang", object{})
	act(alice, "last", "hang", object{})
	p.block <- struct{}{}
	within(t, p.entered, "the second hook to begin")
	before := len(early.seen())
	h.Clock.Advance(2 * time.Millisecond)
	p.block <- struct{}{}
	within(t, p.entered, "the third hook to begin")
	if len(early.seen()) == before {
		t.Error("a reply waits for the hook of one who has more messages waiting")
	}
	close(p.block)
	if e := bob.Next(); e.Kind == "" {
		t.Errorf("got %s", e.Data)
	}
}

// A listener is a link that hears of the answer to the action "quick".
type listener struct {
	room.Link
	came atomic.Bool
}

func (l *listener) Send(frames ...*room.Frame) {
	for _, f := range frames {
		if strings.Contains(string(f.Payload()), `"id":"quick"`) {
			l.came.Store(true)
		}
	}
	l.Link.Send(frames...)
}

// TestBatchLeavesOthersTheirTurn: what does not go into a turn waits in the mailbox. One who sends something meanwhile does not wait for
// all that a flooder has queued up before.
func TestBatchLeavesOthersTheirTurn(t *testing.T) {
	h, p := open(t)
	var answer listener
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob", func(r *room.ConnectRequest) { answer.Link, r.Link = r.Link, &answer })
	const slow = 20
	act(alice, "first", "hang", object{})
	within(t, p.entered, "the first hook to begin")
	for i := range slow {
		act(alice, fmt.Sprint("slow", i), "hang", object{})
	}
	p.block <- struct{}{}
	within(t, p.entered, "the second hook to begin")
	act(bob, "quick", "add", object{"id": "quick"})
	first := 1
	for first < slow && !answer.came.Load() {
		h.Clock.Advance(10 * time.Millisecond) // the turn's time is over
		p.block <- struct{}{}
		within(t, p.entered, "another hook to begin")
		first++
	}
	close(p.block)
	for left := slow - first; left > 0; left-- {
		within(t, p.entered, "the last hooks to begin")
	}
	if first > 4 {
		t.Errorf("%d slow hooks of another client began before there was an answer", first)
	}
}

// TestHangSparesTheBatch: what shares a batch with a hook that does not return, and was not begun, is served by the next life.
func TestHangSparesTheBatch(t *testing.T) {
	h, p := open(t)
	alice, bob := h.Join("shop", "r", "alice"), h.Join("shop", "r", "bob")
	act(alice, "first", "hang", object{})
	<-p.entered
	act(alice, "hangs", "hang", object{})
	act(bob, "behind", "add", object{"id": "behind"})
	p.block <- struct{}{}
	<-p.entered
	h.Clock.Advance(5 * time.Second)
	h.Clock.Advance(5 * time.Second)
	codes := make(map[string]string)
	for codes["hangs"] == "" {
		e := alice.Next()
		codes[e.ID] = e.Kind + " " + e.Code
	}
	for codes["behind"] == "" {
		e := bob.Next()
		codes[e.ID] = e.Kind + " " + e.Code
	}
	close(p.block)
	if codes["hangs"] != "error room_unavailable" || codes["behind"] != "success " {
		t.Errorf("answered with %v", codes)
	}
}
