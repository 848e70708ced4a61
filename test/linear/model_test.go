package linear

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
)

// forever is when an operation ends whose answer nobody got.
const forever = math.MaxInt64

// An input is one operation of a history, and an output what became of it.
type (
	input struct {
		verb verb
		request
	}
	output struct {
		answer
		open bool // no answer came
	}
)

// apply is the whole model: what an operation makes of a key's value, and its answer.
func (in input) apply(value int64) (next int64, a answer) {
	bit := int64(1) << in.A
	switch in.verb {
	case read, list:
		return value, answer{Value: value}
	case write:
		return in.A, answer{}
	case swap:
		if value != in.A {
			return value, answer{}
		}
		return in.B, answer{OK: true}
	case add:
		return value + in.A, answer{Value: value + in.A}
	case put:
		return value | bit, answer{OK: value&bit == 0}
	case drop:
		return value &^ bit, answer{OK: value&bit != 0}
	}
	panic("no operation of the model: " + string(in.verb))
}

func (in input) String() string {
	switch in.verb {
	case read, list:
		return fmt.Sprintf("%s %s", in.verb, in.Key)
	case swap:
		return fmt.Sprintf("%s %s %d to %d", in.verb, in.Key, in.A, in.B)
	}
	return fmt.Sprintf("%s %s %d", in.verb, in.Key, in.A)
}

func (out output) String() string {
	if out.open {
		return "?"
	}
	return fmt.Sprintf("%d %t", out.Value, out.OK)
}

// model is the model of a room. Its keys are checked apart, which is right because no operation touches two.
func model() porcupine.Model {
	return porcupine.Model{
		Partition: byKey,
		Init:      func() any { return int64(0) },
		Step: func(state, in, out any) (bool, any) {
			next, want := in.(input).apply(state.(int64))
			got := out.(output)
			return got.open || got.answer == want, next
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%v → %v", in, out) },
	}
}

func byKey(history []porcupine.Operation) [][]porcupine.Operation {
	at := map[string]int{}
	var parts [][]porcupine.Operation
	for _, op := range history {
		key := op.Input.(input).Key
		i, there := at[key]
		if !there {
			i = len(parts)
			at[key] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], op)
	}
	return parts
}

// TestModelSeesFaults: each of these histories, with one thing doctored, is what a fault of a server would look like.
func TestModelSeesFaults(t *testing.T) {
	for _, c := range []struct {
		name            string
		right, doctored []porcupine.Operation
	}{
		{
			"a stale read",
			[]porcupine.Operation{op(0, 1, write, 7, 0), op(2, 3, read, 0, 0, 7)},
			[]porcupine.Operation{op(0, 1, write, 7, 0), op(2, 3, read, 0, 0, 0)},
		}, {
			"an acknowledged write that is lost",
			[]porcupine.Operation{op(0, 1, write, 7, 0), op(2, 3, read, 0, 0, 7), op(4, 5, read, 0, 0, 7)},
			[]porcupine.Operation{op(0, 1, write, 7, 0), op(2, 3, read, 0, 0, 7), op(4, 5, read, 0, 0, 0)},
		}, {
			"a read before the commit that is lost then",
			[]porcupine.Operation{open(0, write, 7, 0), op(2, 3, read, 0, 0, 7), op(4, 5, read, 0, 0, 7)},
			[]porcupine.Operation{open(0, write, 7, 0), op(2, 3, read, 0, 0, 7), op(4, 5, read, 0, 0, 0)},
		}, {
			"an action that counts twice",
			[]porcupine.Operation{op(0, 3, add, 1, 0, 1), op(4, 5, add, 1, 0, 2)},
			[]porcupine.Operation{op(0, 3, add, 1, 0, 1), op(4, 5, add, 1, 0, 3)},
		}, {
			"an action without an answer that counts twice",
			[]porcupine.Operation{open(0, add, 1, 0), op(4, 5, add, 1, 0, 2)},
			[]porcupine.Operation{open(0, add, 1, 0), op(4, 5, add, 1, 0, 3)},
		}, {
			"two additions that do not see each other",
			[]porcupine.Operation{op(0, 3, add, 1, 0, 1), op(1, 2, add, 1, 0, 2)},
			[]porcupine.Operation{op(0, 3, add, 1, 0, 1), op(1, 2, add, 1, 0, 1)},
		}, {
			"two swaps that both win",
			[]porcupine.Operation{swapped(0, 3, 0, 5, true), swapped(1, 2, 0, 6, false)},
			[]porcupine.Operation{swapped(0, 3, 0, 5, true), swapped(1, 2, 0, 6, true)},
		}, {
			"a refused action that is seen",
			[]porcupine.Operation{op(2, 3, read, 0, 0, 0)},
			[]porcupine.Operation{op(2, 3, read, 0, 0, 9)},
		}, {
			"a deleted element that comes back",
			[]porcupine.Operation{element(0, 1, put, 3, true), element(2, 3, drop, 3, true), op(4, 5, list, 0, 0, 0)},
			[]porcupine.Operation{element(0, 1, put, 3, true), element(2, 3, drop, 3, true), op(4, 5, list, 0, 0, 1<<3)},
		}, {
			"an element that is put in twice",
			[]porcupine.Operation{element(0, 3, put, 3, true), element(1, 2, put, 3, false)},
			[]porcupine.Operation{element(0, 3, put, 3, true), element(1, 2, put, 3, true)},
		},
	} {
		if got := porcupine.CheckOperationsTimeout(model(), c.right, 0); got != porcupine.Ok {
			t.Errorf("%s: the history without it is %s", c.name, got)
		}
		for _, doctored := range [][]porcupine.Operation{c.doctored, slices.Concat(elsewhere(c.right), c.doctored)} {
			if got := porcupine.CheckOperationsTimeout(model(), doctored, 0); got != porcupine.Illegal {
				t.Errorf("%s: the history with it is %s", c.name, got)
			}
		}
	}
}

// op is an operation on the key k, from call to end, with the value of its answer.
func op(call, end int64, v verb, a, b int64, value ...int64) porcupine.Operation {
	var out output
	if len(value) > 0 {
		out.Value = value[0]
	}
	return porcupine.Operation{Input: input{v, request{"k", a, b}}, Output: out, Call: call, Return: end}
}

func open(call int64, v verb, a, b int64) porcupine.Operation {
	o := op(call, forever, v, a, b)
	o.Output = output{open: true}
	return o
}

func swapped(call, end, from, to int64, ok bool) porcupine.Operation {
	o := op(call, end, swap, from, to)
	o.Output = output{answer: answer{OK: ok}}
	return o
}

func element(call, end int64, v verb, e int64, ok bool) porcupine.Operation {
	o := op(call, end, v, e, 0)
	o.Output = output{answer: answer{OK: ok}}
	return o
}

// elsewhere is a history on another key.
func elsewhere(history []porcupine.Operation) []porcupine.Operation {
	moved := slices.Clone(history)
	for i := range moved {
		in := moved[i].Input.(input)
		in.Key = "other"
		moved[i].Input = in
	}
	return moved
}
