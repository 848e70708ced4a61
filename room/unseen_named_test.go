package room_test

import (
	"errors"
	"testing"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// TestUnseenNamedClients has clients that name their connections come to new rooms, ask for nothing and go: before the rooms sleep,
// and after. Nothing is left. One that comes back is answered what it may have asked for.
func TestUnseenNamedClients(t *testing.T) {
	p := newDesert(t)
	come := func(name, id string) (*room.Session, *noise) {
		t.Helper()
		heard := new(noise)
		s, err := p.Connect(t.Context(), key(name), room.ConnectRequest{ID: id, Stock: true, Link: heard})
		if err != nil {
			t.Fatal(err)
		}
		return s, heard
	}
	quick, _ := come("a", "me")
	quick.Close(1001, "")
	p.settle("a")
	p.sleep("a")
	slow, _ := come("b", "me")
	p.sleep("b")
	slow.Close(1001, "")
	p.settle("b")
	p.sleep("b")
	if files, _ := p.size(); files != 0 {
		t.Fatalf("they left %q", p.disk.Files())
	}
	for _, name := range []string{"a", "b"} {
		for id, answered := range map[string]bool{"me": true, "you": false} {
			s, heard := come(name, id)
			p.settle(name)
			p.settle(name)
			if got := heard.frames.Load() > 0; got != answered {
				t.Errorf("%s/%s is answered: %v", name, id, got)
			}
			s.Close(1001, "")
		}
	}
}

// A dozer counts how often its room woke.
type dozer struct {
	room.Base
	wakes *int
}

func (s *dozer) OnWake(*room.Context) error { *s.wakes++; return nil }

// TestUnseenRoomsWake has a room sleep with a connection that got nothing: its next life is not its first one, although it has no
// file.
func TestUnseenRoomsWake(t *testing.T) {
	p, wakes := newDesert(t), 0
	if err := p.Register("dozers", func() room.Handler { return &dozer{wakes: &wakes} }); err != nil {
		t.Fatal(err)
	}
	key := room.Key{Namespace: "dozers", Room: "r"}
	sleep := func(want int) {
		t.Helper()
		if err := errors.Join(inner.OfHost(p).Settle(t.Context(), key), p.Sleep(t.Context(), key)); err != nil {
			t.Fatal(err)
		}
		if files, _ := p.size(); files != 0 || wakes != want {
			t.Errorf("it woke %d times, want %d, and left %q", wakes, want, p.disk.Files())
		}
	}
	s, err := p.Connect(t.Context(), key, room.ConnectRequest{Link: new(noise)})
	if err != nil {
		t.Fatal(err)
	}
	sleep(0)
	sleep(1)
	s.Close(1001, "")
	sleep(1)
}

// An usher has an OnClose.
type usher struct{ room.Base }

func (*usher) OnClose(*room.Context, int, string) error { return nil }

// TestUnseenRoomsClose has somebody come and go at once where that is noted, for OnClose.
func TestUnseenRoomsClose(t *testing.T) {
	p := newDesert(t)
	if err := p.Register("ushers", func() room.Handler { return new(usher) }); err != nil {
		t.Fatal(err)
	}
	key := room.Key{Namespace: "ushers", Room: "r"}
	s, err := p.Connect(t.Context(), key, room.ConnectRequest{Link: new(noise)})
	if err != nil {
		t.Fatal(err)
	}
	s.Close(1001, "")
	if err := errors.Join(inner.OfHost(p).Settle(t.Context(), key), p.Sleep(t.Context(), key)); err != nil {
		t.Fatal(err)
	}
	if files, _ := p.size(); files != 0 {
		t.Errorf("it left %q", p.disk.Files())
	}
}
