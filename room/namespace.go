package room

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/room/internal/table"
	"github.com/denrooms/den/storage"
)

var namespaceForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// A namespace is a kind of room: what [Host.Register] made of a handler's type.
// It is immutable once registered, but for what kind remembers.
type namespace struct {
	host     *Host
	rooms    *hibernate.Rooms // those that have connections
	name     string
	create   func() Handler
	sample   Handler
	actions  map[string]*boundAction
	channels []string
	plans    []fieldPlan // the typed tables of the handler's struct

	migrations []Migration

	request     string           // a client's message that is answered without the room
	answer      *hibernate.Frame // with this; nil: there is none
	closes      bool             // its handler has an OnClose
	presence    bool             // its clients show each other what they send as presence
	wakeOnClose bool             // a room that sleeps is woken to be told that a connection has gone
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

// schema is a name for what the program wants of a room's file before OnStart: another one
// wherever a migration, a table's struct or one of Den's own tables is another.
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

// newHandler makes the handler of a life, its tables bound.
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

// hasCloseHandler reports whether a handler has an OnClose. A method of that name that is none is an error, because
// nobody would call it.
func hasCloseHandler(sample Handler) (bool, error) {
	if _, has := sample.(CloseHandler); has {
		return true, nil
	}
	if m, has := reflect.TypeOf(sample).MethodByName("OnClose"); has {
		return false, fmt.Errorf("%T.OnClose is %v: want a method with (*room.Context, int, string) error", sample, m.Type)
	}
	return false, nil
}
