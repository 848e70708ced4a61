package room

import (
	"log/slog"
	"testing"
)

// Whoever waits for a file has the long look into it end, and gets it then.
func TestLongLookGivesWay(t *testing.T) {
	var l fileUses
	key, asked := Key{Namespace: "n", Room: "r"}, make(chan struct{}, 8)
	end := l.beginLong(key, func() { asked <- struct{}{} })
	ended, got := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(got)
		l.wait(key)
		select {
		case <-ended:
		default:
			t.Error("the file was given before the end")
		}
	}()
	<-asked
	close(ended)
	end()
	<-got
}

// The scrub does not wait for somebody who has a room's file, and does not ask for it.
func TestScrubGivesWay(t *testing.T) {
	key := Key{Namespace: "held", Room: "r"}
	h, err := Open(Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Shutdown(t.Context())
	asked := false
	end := h.node.fileUses.beginLong(key, func() { asked = true })
	if _, err := h.scrubber.readAsleep(key, 0); err != errScrubLater || asked {
		t.Errorf("%v, asked: %v", err, asked)
	}
	end()
	if _, err := h.scrubber.readAsleep(key, 0); err != nil {
		t.Errorf("when nobody has it: %v", err)
	}
	h.node.fileUses.begin(key)() // it was given back
}
