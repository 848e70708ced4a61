package room

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

// Shutdown returns soon after its context has ended, whatever the host's own files wait for, and nobody else waits
// for it. The rest goes on, and a second call waits for that.
func TestShutdownIsBounded(t *testing.T) {
	h, err := Open(Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h.log.recovery.Lock() // the recovery of a room does not end
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	first := make(chan error, 1)
	go func() { first <- h.Shutdown(ctx) }() // ends after releaseGrace
	select {
	case err := <-first:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Shutdown does not return")
	}
	if h.HasNamespace("none") {
		t.Error("there is a namespace")
	}
	h.log.recovery.Unlock()
	if err := h.Shutdown(t.Context()); err != nil {
		t.Errorf("the second Shutdown: %v", err)
	}
}
