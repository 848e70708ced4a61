package room_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// What is called after Shutdown returns, and does not wait for a host that has gone. No call finds the room.
func TestCallsAfterShutdown(t *testing.T) {
	for name, call := range map[string]func(h *roomtest.Host) error{
		"RebuildAlarms": func(h *roomtest.Host) error {
			_, _, err := h.RebuildAlarms(t.Context(), "shop")
			return err
		},
		"Alarms": func(h *roomtest.Host) error {
			for _, err := range h.Host.Alarms(t.Context()) {
				return err
			}
			return errors.New("no alarms")
		},
		"Connect": func(h *roomtest.Host) error { _, err := h.TryJoin("shop", "r", "bob"); return err },
		"Compact": func(h *roomtest.Host) error { _, err := h.Compact(t.Context(), shopKey); return err },
		"Export":  func(h *roomtest.Host) error { return h.Export(t.Context(), shopKey, new(bytes.Buffer), room.SQLFormat) },
		"Import": func(h *roomtest.Host) error {
			return h.Import(t.Context(), room.Key{Namespace: "shop", Room: "new"}, bytes.NewReader(nil))
		},
		"Sleep, and Shutdown again": func(h *roomtest.Host) error {
			if err := h.Sleep(t.Context(), shopKey); err == nil {
				t.Log("Sleep of no room is none")
			}
			if err := h.Shutdown(t.Context()); err != nil {
				return nil
			}
			return errors.New("the second Shutdown is as good as the first")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := open(t)
			mustSucceed(t, h.Join("shop", "r", "alice").Do("items", "add", object{"id": "1"}))
			h.SleepRoom("shop", "r")
			if err := h.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- call(h) }() // it ends when call does, which is the test
			select {
			case err := <-ended:
				if err == nil {
					t.Error("no error")
				}
			case <-time.After(20 * time.Second):
				t.Error("it does not return")
			}
		})
	}
}
