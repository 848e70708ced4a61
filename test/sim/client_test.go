package sim

// What all clients have in common: what they hold, what they were ever shown, what became of their actions; and what
// must be true of each row at the moment at which it comes.

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/denrooms/den/room"
)

// A client is somebody in a room, over all his connections.
type client struct {
	w          *world
	name       string
	connection string // the connection id (_pk)
	room       string
	speech     speech
	link       *link // nil: none

	serial  int
	actions []*action

	rows  map[string]map[string]row   // what it holds: by channel and key
	shown map[int64]string            // who wrote what it was ever shown, by number
	high  map[string]map[string]int64 // the newest number of each row that it was ever shown
	gone  map[string]map[string]int64 // that number when the row was deleted
}

// A speech is how a client speaks: as the published one of partysync, or with cursors and mutation numbers.
type speech interface {
	opened()              // the room has let the client in
	closed()              // the link is over
	frame(f *frame)       // a message came
	send(a *action)       // the client acts
	retry()               // what has no answer, and what was refused for a while, is to be tried again
	forget()              // as a page that is loaded again
	rewound()             // the room was restored
	waits() string        // what it still waits for, connected; "" for nothing
	stale() bool          // was away for longer than a room remembers it
	exactly(*action) bool // an action without an answer was applied for sure, at the end
}

// An action is one that a client made.
type action struct {
	name    string // client/serial: what the journal calls it
	id      string // on the wire
	channel string
	kind    string
	payload json.RawMessage
	number  uint64 // of the mutation
	sent    int
	at      time.Time // when first
	fate    fate
	code    string // of a refusal
	n       int64  // its number in the journal, as the reply said
	nothing bool   // the only try of it was answered with an error that says that nothing was changed
}

// unchanged reports whether an error says that nothing was changed.
func (f *frame) unchanged() bool {
	return f.Type == "error" && slices.ContainsFunc(f.Error, func(text string) bool { return strings.Contains(text, "Nothing was changed") })
}

type fate uint8

const (
	open    fate = iota // no answer yet
	applied             // success
	refused             // an error that says that nothing was changed
	unsure              // nobody will ever tell
)

// A row is as it came.
type row struct {
	raw   string
	cells []json.RawMessage
}

func (r *row) UnmarshalJSON(data []byte) error {
	r.raw = string(data)
	return json.Unmarshal(data, &r.cells)
}

func (r *row) key() string   { return string(r.cells[0]) }
func (r *row) by() string    { s, _ := strconv.Unquote(string(r.cells[1])); return s }
func (r *row) deleted() bool { return string(r.cells[len(r.cells)-1]) != "null" }

// n is the row's number; 0 in a tombstone that has none.
func (r *row) n() int64 {
	n, _ := strconv.ParseInt(string(r.cells[2]), 10, 64)
	return n
}

// stamp is the newest time in the row.
func (r *row) stamp() (newest int64) {
	for _, cell := range r.cells[len(r.cells)-2:] {
		at, _ := strconv.ParseInt(string(cell), 10, 64)
		newest = max(newest, at)
	}
	return newest
}

// A frame is a message from the server.
type frame struct {
	Sync, Broadcast, More, RPC bool
	Resync                     bool
	Type, Channel, ID, Code    string
	Number                     string
	Reset, Cursor, At          string
	Payload, Result            []row
	Value                      done
	Next                       uint64
	Error, Exception           []string
}

func newClient(w *world, i int) *client {
	c := &client{w: w, name: fmt.Sprintf("c%d", i), room: w.rooms[i%len(w.rooms)]}
	c.connection = c.name
	c.rows, c.shown = make(map[string]map[string]row), make(map[int64]string)
	c.high, c.gone = make(map[string]map[string]int64), make(map[string]map[string]int64)
	for _, ch := range channels() {
		c.rows[ch], c.high[ch], c.gone[ch] = map[string]row{}, map[string]int64{}, map[string]int64{}
	}
	c.speech = newSpeech(c, i)
	return c
}

func newSpeech(c *client, i int) speech {
	if c.w.rng.IntN(3) > 0 || i == 0 {
		return newCursorSpeech(c)
	}
	return newStockSpeech(c)
}

func (c *client) key() room.Key           { return room.Key{Namespace: namespace, Room: c.room} }
func (c *client) identity() room.Identity { return room.Identity{Subject: "user of " + c.name} }
func (c *client) now() time.Time          { return c.w.clock.Now() }
func (c *client) opened()                 { c.speech.opened() }
func (c *client) closed()                 { c.speech.closed() }

// failf notes what is wrong with what the client is told, unless its room was damaged: nothing is promised of that.
func (c *client) failf(format string, args ...any) {
	if !c.w.damaged[c.room] {
		c.w.failf(format, args...)
	}
}

// connected reports whether the client may send.
func (c *client) connected() bool { return c.link != nil && c.link.joined }

func (c *client) write(message any) {
	data, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	c.link.up = append(c.link.up, upward{message: data})
}

// maxWaiting bounds what a client has in work, so that Receive never has to wait.
const maxWaiting = 100

// act makes an action, and sends it when that is possible.
func (c *client) act(rng *rand.Rand) {
	a := c.newAction()
	if a == nil {
		return
	}
	t := choose(rng)
	if c.w.sleep != sleepByTime && t.breaks() {
		t = template{"look", "journal", 1}
	}
	c.begin(a, t, payload(a.name, rng))
}

// begin sends an action that was drawn, when that is possible.
func (c *client) begin(a *action, t template, payload json.RawMessage) {
	a.kind, a.channel, a.payload = t.action, t.channel, payload
	c.actions = append(c.actions, a)
	c.w.tracef("%s acts: %s", c.name, a.kind)
	c.speech.send(a)
}

// newAction makes an action that is still to be drawn; nil: the client has too many in work.
func (c *client) newAction() *action {
	waiting := 0
	for _, a := range c.actions {
		if a.fate == open {
			waiting++
		}
	}
	if waiting >= maxWaiting {
		return nil
	}
	c.serial++
	c.w.stats.Acts++
	return &action{name: fmt.Sprintf("%s/%d", c.name, c.serial), id: fmt.Sprintf("%s-%d", c.name, c.serial)}
}

func choose(rng *rand.Rand) template {
	all, total := templates(), 0
	for _, t := range all {
		total += t.weight
	}
	at := rng.IntN(total)
	for _, t := range all {
		if at -= t.weight; at < 0 {
			return t
		}
	}
	panic("not reached")
}

func (c *client) retry() { c.speech.retry() }

// remount ends the page and loads it again: with a new connection id, and nothing remembered but what a speech keeps.
func (c *client) remount() {
	if c.link != nil {
		c.link.drop()
	}
	c.speech.forget()
}

func (c *client) receive(message []byte) {
	c.w.stats.Frames++
	f := new(frame)
	if err := json.Unmarshal(message, f); err != nil {
		c.failf("%s got what cannot be read: %v: %s", c.name, err, message)
		return
	}
	for _, r := range f.Payload {
		c.show(f.Channel, r)
	}
	for _, r := range f.Result {
		c.show(f.Channel, r)
	}
	c.speech.frame(f)
}

// show notes who wrote a row that the client was shown. At the end all of them must be in the journal: that is the gate.
func (c *client) show(channel string, r row) {
	if len(r.cells) < 6 || c.rows[channel] == nil {
		c.failf("%s got a strange row of %q: %s", c.name, channel, r.raw)
		return
	}
	if n := r.n(); n != 0 {
		c.witness(n, r.by(), r.raw)
	}
}

func (c *client) witness(n int64, by, what string) {
	if c.w.damaged[c.room] {
		return
	}
	if before, there := c.shown[n]; there && before != by {
		c.failf("%s was told that %s is number %d, and now that %s is: %s", c.name, before, n, by, what)
	}
	c.shown[n] = by
}

// apply takes a row into what the client holds. A live row that is older than one that was held, or than what was
// deleted, is a step back.
func (c *client) apply(channel string, r row) {
	key := r.key()
	if r.deleted() {
		if _, held := c.rows[channel][key]; held {
			c.gone[channel][key] = c.high[channel][key]
		}
		delete(c.rows[channel], key)
		return
	}
	n := r.n()
	if n < c.high[channel][key] {
		c.failf("%s: a row of %s steps back from %d: %s", c.name, channel, c.high[channel][key], r.raw)
	}
	if dead, there := c.gone[channel][key]; there && n <= dead {
		c.failf("%s: a row of %s that was deleted comes back: %s", c.name, channel, r.raw)
	}
	c.high[channel][key] = n
	c.rows[channel][key] = r
}

// rewind forgets how new the rows with some keys were.
func (c *client) rewind(channel string, rows []row) {
	for _, r := range rows {
		delete(c.high[channel], r.key())
		delete(c.gone[channel], r.key())
	}
}

// renew forgets how new the rows of a channel were, where the room was restored: all that there is comes again, and may be
// what was before.
func (c *client) renew(channel string) {
	if len(c.w.rewinds[c.room]) > 0 {
		clear(c.high[channel])
		clear(c.gone[channel])
	}
}

// replace puts rows in the place of all that the client holds of a channel.
func (c *client) replace(channel string, rows []row) {
	kept := make(map[string]bool, len(rows))
	for _, r := range rows {
		kept[r.key()] = true
	}
	for key := range c.rows[channel] {
		if !kept[key] {
			c.gone[channel][key] = c.high[channel][key]
		}
	}
	c.rows[channel] = make(map[string]row, len(rows))
	for _, r := range rows {
		if r.deleted() {
			c.failf("%s: a tombstone among the live rows of %s: %s", c.name, channel, r.raw)
		}
		c.apply(channel, r)
	}
}

// answered notes what became of an action.
func (c *client) answered(a *action, f *frame, to fate) {
	if a.fate == applied && to == refused {
		c.failf("%s: %s was applied, and now it is refused: %s", c.name, a.name, f.Code)
	}
	a.fate, a.code = to, f.Code
	if to == applied {
		c.w.stats.Acked++
		if n := f.Value.N; n != 0 {
			if a.n != 0 && a.n != n {
				c.failf("%s: %s was number %d, and now %d", c.name, a.name, a.n, n)
			}
			a.n = n
			c.witness(n, a.name, "the reply to "+a.name)
		}
	} else if to == refused {
		c.w.stats.Refused++
	}
}

// passing tells codes that ask a client to try again.
func passing(code string) bool {
	switch code {
	case "aborted", "action_disabled", "overloaded", "room_unavailable", "storage_unavailable", "action_timeout", "shutting_down":
		return true
	}
	return false
}
