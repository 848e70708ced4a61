package edges

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/coder/websocket"
)

// between is the mean time between two actions of an honest client; patience how long one may take, with all its tries.
const (
	between  = 100 * time.Millisecond
	patience = 30 * time.Second
)

// An honest client counts, with numbers, and notes how long each answer took.
type honest struct {
	name    string
	url     string // of its room
	rng     *rand.Rand
	conn    *websocket.Conn // nil: none
	applied int64
	cut     int // how often its connection was lost
	took    []time.Duration
}

// run counts until ctx ends; the action that is under way is finished.
func (c *honest) run(ctx context.Context) error {
	pause(ctx, time.Duration(c.rng.Int64N(int64(2*between)))) // all at once would be the slowest moment of a phase
	for ctx.Err() == nil {
		began := time.Now()
		if err := c.add(context.WithoutCancel(ctx)); err != nil {
			return fmt.Errorf("%s, number %d: %w", c.name, c.applied+1, err)
		}
		c.took = append(c.took, time.Since(began))
		pause(ctx, time.Duration(c.rng.Int64N(int64(2*between))))
	}
	return nil
}

func (c *honest) hangUp() {
	if c.conn != nil {
		c.conn.CloseNow()
		c.conn = nil
	}
}

// add does one action. Where the connection is lost, or the answer says that the number is kept, it sends it again.
func (c *honest) add(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		code, n, err := c.try(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("no answer in %v: %q %w", patience, code, err)
		case err != nil:
			c.cut++
			c.hangUp()
		case code == "":
			c.applied++
			if n != c.applied {
				return fmt.Errorf("the room has counted %d, want %d", n, c.applied)
			}
			return nil
		case code != "overloaded" && code != "room_unavailable" && code != "shutting_down":
			return fmt.Errorf("refused: %s", code)
		}
		pause(ctx, time.Duration(c.rng.Int64N(int64(20*time.Millisecond))))
	}
}

// try sends the action and waits for its answer.
func (c *honest) try(ctx context.Context) (code string, n int64, err error) {
	if c.conn == nil {
		conn, _, err := websocket.Dial(ctx, c.url+"?_pk="+c.name, nil)
		if err != nil {
			return "", 0, err
		}
		conn.SetReadLimit(64 << 20)
		c.conn = conn
	}
	id := fmt.Sprintf("%s-%d", c.name, c.applied+1)
	sent, err := json.Marshal(map[string]any{
		"id": id, "rpc": true, "channel": "scores", "client": "client-" + c.name, "mutation": c.applied + 1,
		"action": map[string]any{"type": "add", "payload": request{ID: c.name}},
	})
	if err != nil {
		return "", 0, err
	}
	if err := c.conn.Write(ctx, websocket.MessageText, sent); err != nil {
		return "", 0, err
	}
	for {
		_, data, err := c.conn.Read(ctx)
		if err != nil {
			return "", 0, err
		}
		if !bytes.Contains(data, []byte(id)) {
			continue // to parse all that hostile clients have everybody told would take most of the machine
		}
		var m struct {
			Type, ID, Code string
			Value          answer
		}
		switch err := json.Unmarshal(data, &m); {
		case err != nil:
			return "", 0, fmt.Errorf("frame %.200s: %w", data, err)
		case m.ID != id:
		case m.Type == "success":
			return "", m.Value.N, nil
		case m.Code == "":
			return "", 0, errors.New("an answer without a code")
		default:
			return m.Code, 0, nil
		}
	}
}
