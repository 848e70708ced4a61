package linear

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/coder/websocket"
)

// patience is how long an operation may take with all its tries. It is a limit for a broken server, not a wait.
const patience = 20 * time.Second

// A client does one operation after another, and notes what it was told. It belongs to one goroutine.
type client struct {
	number  int
	address string // of its room, without the query
	keys    *keys
	rng     *rand.Rand
	network *network
	began   time.Time // of the run: a history's times are counted from it

	numbered bool // it numbers its actions, and is not known by its connection id alone

	name     string // the connection id, and the client id of one that numbers
	names    int
	serial   int             // of the action; its id
	mutation int             // the last number that the room has used up under this name
	conn     *websocket.Conn // nil: none
	seen     map[string]int64

	history                         []porcupine.Operation
	answered, retried, open, refuse int
}

func (c *client) now() int64 { return int64(time.Since(c.began)) }

// run works until ctx ends; the operation that is under way then is finished.
func (c *client) run(ctx context.Context) error {
	c.rename()
	defer c.hangUp()
	for ctx.Err() == nil {
		if err := c.do(context.WithoutCancel(ctx), c.choose()); err != nil {
			return fmt.Errorf("client %d as %s: %w", c.number, c.name, err)
		}
	}
	return nil
}

// rename makes the client another one to the room.
func (c *client) rename() {
	c.hangUp()
	c.names++
	c.mutation = 0
	c.name = fmt.Sprintf("c%d.%d", c.number, c.names)
}

func (c *client) hangUp() {
	if c.conn != nil {
		c.conn.CloseNow()
		c.conn = nil
	}
}

// choose decides what to do next. What is written is written by nobody else, so that a read tells whose it is.
func (c *client) choose() input {
	c.serial++
	mine := int64(c.number)<<32 | int64(c.serial)
	slot := c.rng.IntN(len(slots))
	key := c.keys.next(slot)
	one := func(verbs ...verb) verb { return verbs[c.rng.IntN(len(verbs))] }
	switch slots[slot] {
	case "counter":
		return input{one(add, add, read), request{key, 1 + c.rng.Int64N(3), 0}}
	case "set":
		return input{one(put, put, drop, drop, list), request{key, c.rng.Int64N(5), 0}}
	}
	switch v := one(read, read, write, swap, swap, spoil); v {
	case swap:
		return input{v, request{key, c.seen[key], mine}}
	case spoil:
		return input{v, request{key, -mine, 0}}
	default:
		return input{v, request{key, mine, 0}}
	}
}

// do does one operation and notes its outcome.
func (c *client) do(ctx context.Context, in input) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	operation := porcupine.Operation{ClientId: c.number, Input: in, Call: c.now(), Return: forever, Output: output{open: true}}
	id := fmt.Sprint(c.serial)
	for try := 0; ; try++ {
		got, err := c.try(ctx, id, in)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("no answer to %v in %v and %d tries: %w", in, patience, try+1, err)
		case err == nil:
			c.note(operation, in, got, try)
			return nil
		case isCode(err, spoiled) && in.verb == spoil:
			c.mutation++
			return nil // it never happened, so it is in no history; who reads what it wrote has seen a fault
		case try == 0 && isCode(err, "aborted", "overloaded", "action_timeout"):
			c.refuse++
			return nil // the same: nothing was changed
		case !isCode(err, "", "aborted", "overloaded", "action_timeout", "room_unavailable", "shutting_down"):
			return fmt.Errorf("%v: %w", in, err)
		}
		if c.rng.IntN(3) == 0 {
			c.giveUp(operation, in)
			return nil
		}
		c.pause(ctx)
	}
}

func (c *client) note(operation porcupine.Operation, in input, got answer, tries int) {
	operation.Return, operation.Output = c.now(), output{answer: got}
	c.history = append(c.history, operation)
	c.answered++
	c.mutation++
	if tries > 0 {
		c.retried++
	}
	if next, _ := in.apply(got.Value); in.verb != swap || got.OK {
		c.seen[in.Key] = next
	}
}

// giveUp leaves an operation open. The client takes another name, for its old one may not be used to go on.
func (c *client) giveUp(operation porcupine.Operation, in input) {
	c.rename()
	if in.verb == spoil || in.verb == read || in.verb == list {
		return // it changes nothing that anybody may see
	}
	c.history = append(c.history, operation)
	c.open++
}

func (c *client) pause(ctx context.Context) {
	timer := time.NewTimer(time.Duration(c.rng.Int64N(int64(10 * time.Millisecond))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// A refusedError is an answer that says no. Without a code there was no answer: the connection was lost.
type refusedError struct {
	code  string
	cause error
}

func (e *refusedError) Error() string {
	if e.code == "" {
		return "connection lost: " + e.cause.Error()
	}
	return "refused with " + e.code
}
func (e *refusedError) Unwrap() error { return e.cause }

func isCode(err error, codes ...string) bool {
	var refused *refusedError
	return errors.As(err, &refused) && slices.Contains(codes, refused.code)
}

// try sends an operation, over a new connection if there is none, and waits for its answer.
func (c *client) try(ctx context.Context, id string, in input) (answer, error) {
	got, err := c.exchange(ctx, id, in)
	if isCode(err, "") {
		c.hangUp()
	}
	return got, err
}

func (c *client) exchange(ctx context.Context, id string, in input) (answer, error) {
	if c.conn == nil {
		conn, _, err := websocket.Dial(ctx, c.address+"?_pk="+c.name, &websocket.DialOptions{HTTPClient: &c.network.http})
		if err != nil {
			return answer{}, &refusedError{cause: err}
		}
		c.conn = conn
	}
	frame, err := json.Marshal(c.frame(id, in))
	if err != nil {
		return answer{}, err
	}
	if err := c.conn.Write(ctx, websocket.MessageText, frame); err != nil {
		return answer{}, &refusedError{cause: err}
	}
	for {
		_, data, err := c.conn.Read(ctx)
		if err != nil {
			return answer{}, &refusedError{cause: err}
		}
		if got, mine, err := parse(data, id); mine || err != nil {
			return got, err
		}
	}
}

func (c *client) frame(id string, in input) map[string]any {
	frame := map[string]any{
		"id": id, "channel": "cells", "rpc": true, "action": map[string]any{"type": in.verb, "payload": in.request},
	}
	if c.numbered {
		frame["client"], frame["mutation"] = c.name, c.mutation+1
	}
	return frame
}

// parse reads a frame; one that does not answer the action with this id is not mine.
func parse(data []byte, id string) (got answer, mine bool, err error) {
	var m struct {
		Type, ID, Code string
		Value          answer
		Error          json.RawMessage
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return answer{}, false, fmt.Errorf("frame %.200s: %w", data, err)
	}
	switch {
	case m.Type == "exception":
		return answer{}, false, fmt.Errorf("frame %.200s: an action was not understood", data)
	case strings.HasPrefix(string(m.Error), "{"): // the room cannot be entered; a close follows
		return answer{}, false, &refusedError{cause: fmt.Errorf("room's error %.200s", data)}
	case m.ID != id:
		return answer{}, false, nil // an update, or the late answer to an operation that was given up
	case m.Type == "success":
		return m.Value, true, nil
	case m.Type == "error" && m.Code != "":
		return answer{}, true, &refusedError{code: m.Code}
	}
	return answer{}, false, fmt.Errorf("frame %.200s: no answer to an action", data)
}
