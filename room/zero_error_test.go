package room_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/syncproto"
)

// badErrors are errors of hooks whose form is wrong, and what their client is to be told.
var badErrors = map[string]struct {
	err           error
	code, message string
}{
	"no code":         {&room.Error{Message: "You may not do that."}, "action_failed", "You may not do that."},
	"nothing":         {&room.Error{}, "action_failed", ""},
	"no such code":    {&room.Error{Code: "X Y\n", Message: "no"}, "action_failed", "no"},
	"no code, within": {fmt.Errorf("within: %w", &room.Error{Message: "no"}), "action_failed", "no"},
	"of the protocol": {&syncproto.Error{}, "action_failed", ""},
	"long":            {&room.Error{Code: "long", Message: strings.Repeat("x", 200_000)}, "long", strings.Repeat("x", 500)},
}

// wrongdoer's actions fail as their type says.
type wrongdoer struct {
	room.Base
	Notes room.Table[keeperNote]
}

func (w *wrongdoer) OnAction(c *room.Context, _ string, a room.ActionRequest) (any, error) {
	if err := w.Notes.Upsert(c, keeperNote{ID: "1"}); err != nil {
		return nil, err
	}
	return nil, badErrors[a.Type].err
}

// A hook that returns an error without a code has refused its action: the client is told so, and the hook has written nothing.
func TestErrorsWithoutForm(t *testing.T) {
	for name, want := range badErrors {
		t.Run(name, func(t *testing.T) {
			h := roomtest.New(t, func(h *room.Host) error {
				return h.Register("wrong", func() room.Handler { return new(wrongdoer) })
			})
			e := h.Join("wrong", "r", "alice").DoNumbered("phone", 1, "notes", name, object{})
			if e.Kind != "error" || e.Code != want.code || want.message != "" && !strings.Contains(string(e.Data), fmt.Sprintf("[%q]", want.message)) {
				t.Errorf("got %.300s", e.Data)
			}
			if rows := h.Join("wrong", "r", "bob").Sync("notes"); len(rows) != 0 {
				t.Errorf("the room holds %v", rows)
			}
		})
	}
}
