package room

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/table"
	"github.com/denrooms/den/storage"
)

var namespaceForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// A namespace is a kind of room, made by [Host.Register] from a handler's type. It is immutable after it has been
// registered.
type namespace struct {
	node     *node
	rooms    *hibernate.Rooms // those that have connections
	name     string
	create   func() Handler
	sample   Handler
	actions  map[string]*boundAction
	channels []string
	plans    []fieldPlan // the typed tables of the handler's struct

	migrations []Migration

	request     string           // a client's message that answer answers without the room
	answer      *hibernate.Frame // nil: there is none
	closes      bool             // its handler has an OnClose
	presence    bool             // its clients show each other what they send as presence
	wakeOnClose bool             // a sleeping room is woken to be told that a connection has gone
	fingerprint string           // see schema
	pool        *storage.Pool    // what the rooms share
}

// fieldPlan is a Table field of a handler: where it is, and its table.
type fieldPlan struct {
	index []int
	plan  *table.Plan
}

func newNamespace(name string, create func() Handler, opts []Option) (*namespace, error) {
	if !namespaceForm.MatchString(name) {
		return nil, fmt.Errorf("room: the namespace %q: want lower-case letters, digits and '-', 64 at most, a letter first", name)
	}
	ns := &namespace{name: name, create: create, actions: make(map[string]*boundAction)}
	if err := protect(func() error { ns.sample = create(); return nil }); err != nil {
		return nil, fmt.Errorf("room: namespace %q: making a handler: %w", name, err)
	}
	if ns.sample == nil {
		return nil, fmt.Errorf("room: namespace %q: its factory makes no handler, but nil", name)
	}
	var err error
	if ns.closes, err = hasCloseHandler(ns.sample); err != nil {
		return nil, fmt.Errorf("room: namespace %q: %w", name, err)
	}
	if err := ns.planTables(); err != nil {
		return nil, fmt.Errorf("room: namespace %q: %w", name, err)
	}
	for _, opt := range opts {
		if err := opt(ns); err != nil {
			return nil, fmt.Errorf("room: namespace %q: %w", name, err)
		}
	}
	ns.fingerprint = ns.schema()
	return ns, nil
}

// schema returns a hash of what the program wants of a room's file before OnStart. It changes with a migration, a
// table's struct or one of Den's own tables.
func (ns *namespace) schema() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q\n", ns.ownTables())
	for _, m := range ns.migrations {
		fmt.Fprintf(sum, "migration %q\n", m.name)
	}
	for _, f := range ns.plans {
		fmt.Fprintln(sum, f.plan.Schema())
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

func (ns *namespace) addChannel(name string) error {
	if !table.IsName(name) {
		return fmt.Errorf("the channel %q: want letters, digits and '_', 128 at most", name)
	}
	for _, other := range ns.channels {
		switch {
		case other == name:
			return fmt.Errorf("the channel %q is there twice", name)
		case strings.EqualFold(other, name):
			return fmt.Errorf("the channels %q and %q differ by case only, and SQL does not tell such tables apart", other, name)
		}
	}
	ns.channels = append(ns.channels, name)
	return nil
}

// binder is a Table of any row type.
type binder interface {
	plan(name string) (*table.Plan, error)
	bind(*table.Plan)
}

// planTables finds the Table fields of the handler's struct.
func (ns *namespace) planTables() error {
	v := reflect.ValueOf(ns.sample)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("a handler is a pointer to a struct that embeds room.Base, not %T", ns.sample)
	}
	for _, f := range reflect.VisibleFields(v.Elem().Type()) {
		field, ok := reflect.New(f.Type).Interface().(binder)
		if !ok {
			continue
		}
		if !f.IsExported() {
			return fmt.Errorf("the field %s of %T must be exported to be a table", f.Name, ns.sample)
		}
		name := f.Tag.Get("den")
		if name == "" {
			name = table.Snake(f.Name)
		}
		plan, err := field.plan(name)
		if err != nil {
			return fmt.Errorf("field %s of %T: %w", f.Name, ns.sample, err)
		}
		if err := ns.addChannel(name); err != nil {
			return err
		}
		ns.plans = append(ns.plans, fieldPlan{index: f.Index, plan: plan})
	}
	return nil
}

// newHandler makes the handler of a life and binds its tables.
func (ns *namespace) newHandler() Handler {
	h := ns.create()
	if len(ns.plans) > 0 {
		v := reflect.ValueOf(h).Elem()
		for _, f := range ns.plans {
			v.FieldByIndex(f.index).Addr().Interface().(binder).bind(f.plan)
		}
	}
	return h
}

// hasCloseHandler reports whether a handler has an OnClose. A method of that name with another signature is an error,
// because nobody would call it.
func hasCloseHandler(sample Handler) (bool, error) {
	if _, has := sample.(CloseHandler); has {
		return true, nil
	}
	if m, has := reflect.TypeOf(sample).MethodByName("OnClose"); has {
		return false, fmt.Errorf("%T.OnClose is %v: want a method with (*room.Context, int, string) error", sample, m.Type)
	}
	return false, nil
}

// An Option of [Host.Register].
type Option func(*namespace) error

// Synced makes SQL tables of the room channels. They must exist when OnStart returns, with the id in the first column
// (the primary key, or UNIQUE NOT NULL) and created_at, updated_at, deleted_at as the last three.
func Synced(tables ...string) Option {
	return func(ns *namespace) error {
		for _, t := range tables {
			if err := ns.addChannel(t); err != nil {
				return err
			}
		}
		return nil
	}
}

// WakeOnClose wakes a sleeping room when one of its connections goes, so that OnClose is called at once. Without it
// the room stays asleep, and OnClose runs when it wakes; see [CloseHandler]. A shutdown also wakes the rooms that
// sleep with connections.
func WakeOnClose() Option {
	return func(ns *namespace) error {
		ns.wakeOnClose = true
		return nil
	}
}

// MaxAutoAnswer is the longest request and the longest response of AutoAnswer, in bytes. (2,048 characters with
// Durable Objects' setWebSocketAutoResponse.)
const MaxAutoAnswer = 2048

// AutoAnswer answers a text message that equals request with response, without the room: the room does not see the
// message, and does not wake for it. It is meant for the heartbeats of clients that cannot send a WebSocket ping,
// such as pages. The answer may come before those to earlier messages. Both have 1 to MaxAutoAnswer bytes of UTF-8,
// and a namespace has at most one such pair. [Conn.LastAutoAnswer] says when it was last used.
func AutoAnswer(request, response string) Option {
	return func(ns *namespace) error {
		for _, s := range []string{request, response} {
			if s == "" || len(s) > MaxAutoAnswer || !utf8.ValidString(s) {
				return fmt.Errorf("room: an automatic answer and its request have 1 to %d bytes of UTF-8, not %d", MaxAutoAnswer, len(s))
			}
		}
		if ns.answer != nil {
			return fmt.Errorf("room: a second automatic answer, to %q", clip(request, 64))
		}
		ns.request, ns.answer = request, textFrame(response)
		return nil
	}
}

// Presence gives a namespace's rooms presence. What a client sends as {"presence": …}, any JSON of at most 16 KiB, is
// shown to all clients of the room that have sent one themselves, with an id, see [Conn.PresenceID]. It is for what
// matters only while somebody is there: a cursor, a name, that somebody is typing. It belongs to the connection and
// ends with it. Neither the room nor the database sees it come. It wakes no room, and outlives sleep and crashes of
// the room. A client that reads slowly gets the newest of each, and not what came between. Handlers read it with
// [Conn.Presence]. A room's clients have 8 MiB of it together. Without this option such a message goes to OnMessage.
// (The form, a map of peers, is that of Liveblocks.)
func Presence() Option {
	return func(ns *namespace) error {
		ns.presence = true
		return nil
	}
}

// A boundAction is an action that has a method.
type boundAction struct {
	decoder
	call func(h Handler, c *Context, in any) (any, error)
}

// A decoder decodes an action's payload for its method.
type decoder struct {
	decode func(ActionRequest) (any, error)
	inTurn bool // it may run a program's code, so the room calls it; see decodesItself
}
