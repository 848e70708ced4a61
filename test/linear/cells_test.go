package linear

import (
	"errors"
	"fmt"

	"github.com/denrooms/den/room"
)

const namespace = "cells"

// A verb is the name of an action.
type verb string

const (
	read  verb = "read"  // a register's value
	write verb = "write" // a register becomes A
	swap  verb = "swap"  // a register becomes B if it is A
	add   verb = "add"   // a counter grows by A; the answer is its new value
	put   verb = "put"   // element A is in the set; OK if it was not before
	drop  verb = "drop"  // element A is not in the set; OK if it was before
	list  verb = "list"  // the set, as a sum of 1<<element
	spoil verb = "spoil" // a register becomes A, and then the action is refused
)

// A request is an action's payload, and an answer its result.
type (
	request struct {
		Key  string `json:"key"`
		A, B int64
	}
	answer struct {
		Value int64 `json:"value"`
		OK    bool  `json:"ok"`
	}
)

// A cell is a register or a counter; one that is not there is 0.
type cell struct {
	ID    string
	Value int64
	room.Stamps
}

// A member is an element of a set.
type member struct {
	ID      string
	Set     string
	Element int64
	room.Stamps
}

// cells is the room: the same operations as the model's, done with SQL.
type cells struct {
	room.Base
	Cells   room.Table[cell]
	Members room.Table[member]
}

func register(h *room.Host) error {
	return h.Register(namespace, func() room.Handler { return new(cells) },
		room.Call(string(read), (*cells).read),
		room.Call(string(write), (*cells).write),
		room.Call(string(swap), (*cells).swap),
		room.Call(string(add), (*cells).add),
		room.Call(string(put), (*cells).put),
		room.Call(string(drop), (*cells).drop),
		room.Call(string(list), (*cells).list),
		room.Call(string(spoil), (*cells).spoil),
	)
}

func (r *cells) value(c *room.Context, key string) (int64, error) {
	found, err := r.Cells.Get(c, key)
	if errors.Is(err, room.ErrNotFound) {
		return 0, nil
	}
	return found.Value, err
}

func (r *cells) set(c *room.Context, key string, value int64) error {
	return r.Cells.Upsert(c, cell{ID: key, Value: value})
}

func (r *cells) read(c *room.Context, in request) (answer, error) {
	v, err := r.value(c, in.Key)
	return answer{Value: v}, err
}

func (r *cells) write(c *room.Context, in request) (answer, error) {
	return answer{}, r.set(c, in.Key, in.A)
}

func (r *cells) swap(c *room.Context, in request) (answer, error) {
	v, err := r.value(c, in.Key)
	if err != nil || v != in.A {
		return answer{}, err
	}
	return answer{OK: true}, r.set(c, in.Key, in.B)
}

func (r *cells) add(c *room.Context, in request) (answer, error) {
	v, err := r.value(c, in.Key)
	if err != nil {
		return answer{}, err
	}
	return answer{Value: v + in.A}, r.set(c, in.Key, v+in.A)
}

func (r *cells) put(c *room.Context, in request) (answer, error) {
	id := fmt.Sprintf("%s/%d", in.Key, in.A)
	_, err := r.Members.Get(c, id)
	if err == nil {
		return answer{}, nil
	}
	if !errors.Is(err, room.ErrNotFound) {
		return answer{}, err
	}
	return answer{OK: true}, r.Members.Upsert(c, member{ID: id, Set: in.Key, Element: in.A})
}

func (r *cells) drop(c *room.Context, in request) (answer, error) {
	err := r.Members.Delete(c, fmt.Sprintf("%s/%d", in.Key, in.A))
	if errors.Is(err, room.ErrNotFound) {
		return answer{}, nil
	}
	return answer{OK: err == nil}, err
}

func (r *cells) list(c *room.Context, in request) (answer, error) {
	members, err := r.Members.Where(c, `"set" = ?`, in.Key)
	var sum int64
	for _, m := range members {
		sum |= 1 << m.Element
	}
	return answer{Value: sum}, err
}

func (r *cells) spoil(c *room.Context, in request) (answer, error) {
	if err := r.set(c, in.Key, in.A); err != nil {
		return answer{}, err
	}
	return answer{}, room.Abort(spoiled, "It was meant to fail.")
}

const spoiled = "spoiled"
