package room_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
)

// akin wraps nothing, and says by its Is which error it is.
type akin struct{ to error }

func (a akin) Error() string        { return "akin" }
func (a akin) Is(target error) bool { return target == a.to }

// kinsman's actions fail with an error that is akin to one of Den's.
type kinsman struct {
	room.Base
	Items room.Table[item]

	starts *int
}

var relations = map[string]error{
	"not found": room.ErrNotFound, "full": storage.ErrRoomFull, "too large": storage.ErrTooLarge, "conflict": storage.ErrConstraint,
	"alarms": room.ErrTooManyAlarms, "interrupted": storage.ErrInterrupted, "late": context.DeadlineExceeded, "closed": storage.ErrClosed,
}

func (k *kinsman) OnStart(*room.Context) error { *k.starts++; return nil }

func (k *kinsman) OnAction(_ *room.Context, _ string, a room.ActionRequest) (any, error) {
	return nil, fmt.Errorf("looking: %w", akin{relations[a.Type]})
}

// An error of a program's that is one of Den's by its method Is gets the code of that error. One that is storage.ErrClosed ends the
// room's life, as the storage's own does.
func TestErrorsThatAreDensByIs(t *testing.T) {
	for action, c := range map[string]struct {
		code   string
		starts int
	}{
		"not found": {"not_found", 1}, "full": {"room_full", 1}, "too large": {"too_large", 1}, "conflict": {"conflict", 1},
		"alarms": {"too_large", 1}, "interrupted": {"action_timeout", 1}, "late": {"action_timeout", 1},
		"closed": {"action_failed", 2}, "none": {"action_failed", 1},
	} {
		t.Run(action, func(t *testing.T) {
			starts := 0
			h := roomtest.New(t, func(h *room.Host) error {
				return h.Register("kin", func() room.Handler { return &kinsman{starts: &starts} })
			})
			c1 := h.Join("kin", "r", "client")
			got := c1.Do("items", action, nil)
			c1.Sync("items")
			if got.Kind != "error" || got.Code != c.code || starts != c.starts {
				t.Errorf("the client got %s, and the room started %d times; want the code %s, and %d starts", got.Data, starts, c.code, c.starts)
			}
		})
	}
}
