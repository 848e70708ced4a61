package room_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// tagger is a room whose actions are functions.
type tagger struct {
	room.Base
	do func(*room.Context) error
}

func (r *tagger) OnAction(c *room.Context, _ string, _ room.ActionRequest) (any, error) {
	return nil, r.do(c)
}

func (r *tagger) OnStart(c *room.Context) error {
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS plain (id TEXT PRIMARY KEY, created_at, updated_at, deleted_at)`)
	return err
}

// Tags have limits of their own, and what an action sets of several connections is all of it theirs afterwards.
func TestTags(t *testing.T) {
	var do func(*room.Context) error
	h := roomtest.New(t, func(h *room.Host) error {
		return h.Register("tags", func() room.Handler { return &tagger{do: func(c *room.Context) error { return do(c) }} }, room.Synced("plain"))
	})
	alice, _ := h.Join("tags", "r", "alice"), h.Join("tags", "r", "bob")
	act := func(f func(*room.Context) error) {
		t.Helper()
		do = f
		mustSucceed(t, alice.Do("plain", "x", nil))
	}
	many := make([]string, room.MaxTags+1)
	for i := range many {
		many[i] = fmt.Sprint("tag", i)
	}
	act(func(c *room.Context) error {
		for what, s := range map[string]struct {
			tags []string
			ok   bool
		}{
			"as many as there may be": {many[1:], true}, "one more": {many, false}, "the longest": {[]string{"a", strings.Repeat("t", 256)}, true},
			"one that is longer": {[]string{"a", strings.Repeat("t", 257)}, false}, "none": {nil, true},
		} {
			if err := c.Conn().SetTags(s.tags...); s.ok != (err == nil) {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		for _, conn := range c.Connections() {
			if err := conn.SetTags("of "+conn.ID(), "all"); err != nil {
				return err
			}
		}
		return nil
	})
	act(func(c *room.Context) error {
		for tag, want := range map[string]int{"all": 2, "of alice": 1, "of bob": 1, "tag1": 0} {
			if got := len(c.Connections(tag)); got != want {
				return fmt.Errorf("%d connections have the tag %s, want %d", got, tag, want)
			}
		}
		return nil
	})
}
