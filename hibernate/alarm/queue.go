package alarm

import (
	"container/heap"
	"slices"
)

// bells are a heap by time, and where that is the same by the room's name, so that a repeated
// run calls in the same order. Each bell knows its place.
type bells []*bell

// Len, Less, Swap, Push and Pop are container/heap's.
func (q bells) Len() int           { return len(q) }
func (q bells) Less(i, j int) bool { return byTime(q[i], q[j]) < 0 }
func (q bells) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = int32(i), int32(j)
}

func (q *bells) Push(x any) {
	b := x.(*bell)
	b.place = int32(len(*q))
	*q = append(*q, b)
}

func (q *bells) Pop() any {
	last := len(*q) - 1
	b := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	b.place = -1
	return b
}

// put puts a bell in, or where its time belongs now.
func (q *bells) put(b *bell) {
	if b.place >= 0 {
		heap.Fix(q, int(b.place))
		return
	}
	heap.Push(q, b)
}

// remove takes a bell out, if it is in.
func (q *bells) remove(b *bell) {
	if b.place >= 0 {
		heap.Remove(q, int(b.place))
	}
}

func (q bells) sort() { slices.SortFunc(q, byTime) }
