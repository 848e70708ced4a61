package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// answerTime is how long a client waits for an answer before it is a fault: longer than the server itself tries. retryTime
// is how long after a refusal it asks again.
const (
	answerTime = time.Minute
	retryTime  = time.Second
)

// A client comes, goes and speaks now and then. Every second one has a cursor and comes back with it; the others do as
// partysync's published client: they sync once, and are sent unasked what they missed. It belongs to one goroutine.
type client struct {
	config
	address string
	name    string // its connection id
	room    string
	todos   *todos // of the room, shared with the other clients there
	tally   *tally
	rng     *rand.Rand
	cursors bool

	cursor string // what it has; with cursors
	synced bool   // it has had a whole answer to sync
	sent   int    // actions

	// Of the present visit.

	socket  *socket
	asked   time.Time // of a sync that is not answered; zero: there is none
	askAt   time.Time // when to ask again, after a refusal; zero: not
	pending *pending  // nil: no action is in work
}

// pending is an action that is not answered.
type pending struct {
	action
	frameID string
	since   time.Time
}

// newClient makes the client of a number.
func newClient(c config, number int, address string, rooms []*todos, t *tally) *client {
	room := number % len(rooms)
	return &client{
		config: c, address: address, name: "client-" + strconv.Itoa(number), room: "room-" + strconv.Itoa(room), todos: rooms[room],
		tally: t, rng: rand.New(rand.NewPCG(c.seed, uint64(number))), cursors: number/len(rooms)%2 == 0,
	}
}

// run comes and goes until ctx ends; the first time after first.
func (c *client) run(ctx context.Context, first time.Duration) {
	for wait := first; pause(ctx, wait); wait = c.around(c.away) {
		if err := c.visit(ctx); err != nil && ctx.Err() == nil {
			c.tally.fault("%s in %s: %v", c.name, c.room, err)
		}
		if c.pending != nil {
			c.todos.unknown()
			c.pending = nil
		}
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// around is a time between half of d and one and a half of it.
func (c *client) around(d time.Duration) time.Duration {
	return time.Duration((0.5 + c.rng.Float64()) * float64(d))
}

// about is a time of exponential distribution, ten times d at most.
func (c *client) about(d time.Duration) time.Duration {
	return time.Duration(min(c.rng.ExpFloat64(), 10) * float64(d))
}

// visit connects, stays and leaves. Its error is a fault, unless ctx has ended.
func (c *client) visit(ctx context.Context) error {
	socket, err := dial(ctx, c.address, "/parties/todos/"+c.room+"?_pk="+c.name, c.rng)
	if err != nil {
		return err
	}
	c.socket, c.asked, c.askAt = socket, time.Time{}, time.Time{}
	defer socket.hangUp()
	defer context.AfterFunc(ctx, socket.hangUp)() // a read that waits then ends
	c.tally.add(func(n *counts) { n.connects++ })
	if c.cursors || !c.synced {
		if err := c.ask(); err != nil {
			return err
		}
	}
	refused, err := c.stayAWhile(ctx)
	if err != nil || refused {
		return err
	}
	if c.rng.IntN(2) == 0 {
		c.tally.add(func(n *counts) { n.drops++ })
		return nil
	}
	c.tally.add(func(n *counts) { n.leaves++ })
	if err := socket.leave(); err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	return nil
}

// stayAWhile reads and speaks until it is time to leave, or the room has refused the client with a code. A client does
// not leave while it waits for an answer: each must come.
func (c *client) stayAWhile(ctx context.Context) (refused bool, err error) {
	now := time.Now()
	leaveAt, speakAt := now.Add(c.about(c.stay)), now.Add(c.about(c.speak))
	for {
		now = time.Now()
		waits := c.pending != nil || !c.asked.IsZero() || !c.askAt.IsZero()
		switch {
		case ctx.Err() != nil, !waits && !now.Before(leaveAt):
			return false, ctx.Err()
		case c.late(now):
			return false, fmt.Errorf("no answer within %v", answerTime)
		case !c.askAt.IsZero() && !now.Before(c.askAt):
			err = c.ask()
		case c.pending == nil && !now.Before(speakAt):
			err = c.act()
			speakAt = now.Add(c.about(c.speak))
		}
		if err != nil {
			return false, err
		}
		message, err := c.socket.next(c.due(leaveAt, speakAt))
		if errors.Is(err, errQuiet) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("the connection is lost: %w", err)
		}
		if refused, err := c.take(message); err != nil || refused {
			return refused, err
		}
	}
}

// due is when there is something to do even if nothing comes.
func (c *client) due(leaveAt, speakAt time.Time) time.Time {
	due := time.Now().Add(answerTime) // to look for late answers
	sooner := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	if c.pending == nil {
		sooner(speakAt)
	}
	if !c.askAt.IsZero() {
		sooner(c.askAt)
	}
	if c.pending == nil && c.asked.IsZero() && c.askAt.IsZero() {
		sooner(leaveAt)
	}
	return due
}

// late reports whether an answer has not come.
func (c *client) late(now time.Time) bool {
	return c.pending != nil && now.Sub(c.pending.since) >= answerTime || !c.asked.IsZero() && now.Sub(c.asked) >= answerTime
}

// ask asks for what the client lacks.
func (c *client) ask() error {
	c.asked, c.askAt = time.Now(), time.Time{}
	question := map[string]any{"channel": channel, "sync": true}
	switch {
	case !c.cursors:
		question["from"] = nil
	case c.cursor == "":
		question["cursor"] = nil
	default:
		question["cursor"] = c.cursor
	}
	return c.send(question)
}

// act sends an action, where one can be done.
func (c *client) act() error {
	a, ok := c.todos.claim(c.rng)
	if !ok {
		return nil
	}
	payload := map[string]any{"id": a.id}
	if a.verb != "delete" {
		payload["text"], payload["completed"] = "something to do, said by "+c.name, c.rng.IntN(2)
	}
	c.sent++
	c.pending = &pending{action: a, frameID: strconv.Itoa(c.sent), since: time.Now()}
	return c.send(map[string]any{"id": c.pending.frameID, "channel": channel, "rpc": true, "action": map[string]any{"type": a.verb, "payload": payload}})
}

func (c *client) send(message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return c.socket.write(opText, data)
}

// take takes a message in. Its error is a fault; refused tells that the room will not have the client now.
func (c *client) take(message []byte) (refused bool, err error) {
	f, kind, err := readFrame(message)
	if err != nil {
		return false, fmt.Errorf("%w: %.200s", err, message)
	}
	c.tally.add(func(n *counts) { n.rows += f.rows() })
	switch kind {
	case isRoomsError:
		c.tally.refuse(f.Code)
		return true, nil
	case isException:
		c.tally.refuse(f.Code)
		c.asked, c.askAt = time.Time{}, time.Now().Add(retryTime)
	case isSuccess, isRefusal:
		err = c.answered(f, kind)
	case isSync:
		if c.asked.IsZero() {
			return false, fmt.Errorf("an answer that nobody asked for: %.200s", message)
		}
		if !f.More {
			c.asked, c.synced = time.Time{}, true
		}
	}
	if f.Cursor != "" && c.synced && c.asked.IsZero() && c.askAt.IsZero() {
		c.cursor = f.Cursor
	}
	return false, err
}

// answered takes the answer to an action.
func (c *client) answered(f frame, kind kind) error {
	p := c.pending
	if p == nil || p.frameID != f.ID {
		return fmt.Errorf("an answer to the action %q, which waits for none", f.ID)
	}
	c.pending = nil
	if kind == isRefusal {
		c.tally.refuse(f.Code)
		c.todos.refused(p.action)
		return nil
	}
	if len(f.Result) != 1 {
		c.todos.unknown()
		return fmt.Errorf("%s of a todo gave %d rows", p.verb, len(f.Result))
	}
	c.tally.acted(time.Since(p.since))
	c.todos.settle(p.action)
	return nil
}
