package alarm

import (
	"cmp"
	"container/heap"
)

// A queue is a heap of entries by time, and by the room's name where the times are equal, so that runs with the same times
// call the rooms in the same order. Each entry knows its position.
type queue []*entry

// Len, Less, Swap, Push and Pop implement [heap.Interface].
func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return byTime(q[i], q[j]) < 0 }
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].position, q[j].position = int32(i), int32(j)
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.position = int32(len(*q))
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.position = -1
	return e
}

// put adds an entry, or moves it after its time has changed.
func (q *queue) put(e *entry) {
	if e.position >= 0 {
		heap.Fix(q, int(e.position))
		return
	}
	heap.Push(q, e)
}

// remove removes an entry, if the queue has it.
func (q *queue) remove(e *entry) {
	if e.position >= 0 {
		heap.Remove(q, int(e.position))
	}
}

func byTime(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.callAt, b.callAt), cmp.Compare(a.room, b.room))
}
