package main

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
)

// fewTodos and manyTodos are between how many todos a room has, once it is used.
const (
	fewTodos  = 3
	manyTodos = 20
)

// todos is what the clients know of a room's todos. Each has one action in work at most, so that no action is refused
// because of another. Its methods are safe from any goroutine.
type todos struct {
	mu    sync.Mutex
	free  []string // that no action is about
	count int      // with those that are being made
	made  int
}

// An action is one on a todo.
type action struct{ verb, id string }

// claim gives an action that can be done; none where all todos are in work.
func (t *todos) claim(rng *rand.Rand) (action, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	verb := []string{"create", "update", "delete"}[rng.IntN(3)]
	switch {
	case t.count < fewTodos:
		verb = "create"
	case t.count >= manyTodos && verb == "create":
		verb = "delete"
	}
	if verb == "create" {
		t.count++
		t.made++
		return action{verb, "t" + strconv.Itoa(t.made)}, true
	}
	if len(t.free) == 0 {
		return action{}, false
	}
	i := rng.IntN(len(t.free))
	id := t.free[i]
	t.free = slices.Delete(t.free, i, i+1)
	return action{verb, id}, true
}

// settle takes note of an action that was done.
func (t *todos) settle(a action) { t.put(a, a.verb != "delete") }

// refused takes note of an action that was not done.
func (t *todos) refused(a action) { t.put(a, a.verb != "create") }

func (t *todos) put(a action, exists bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if exists {
		t.free = append(t.free, a.id)
	} else {
		t.count--
	}
}

// unknown takes note of an action of which nobody will ever know: the todo is left alone.
func (t *todos) unknown() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count--
}
