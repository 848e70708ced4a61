package roomtest_test

import (
	"fmt"
	"os"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

type Note struct {
	ID   string
	Text string
	room.Stamps
}

type Board struct {
	room.Base
	Notes room.Table[Note]
}

func (b *Board) Post(c *room.Context, in Note) error {
	if in.Text == "" {
		return c.Abort("text_empty", "Write something.")
	}
	return b.Notes.Insert(c, Note{ID: in.ID, Text: in.Text})
}

func (b *Board) Drop(c *room.Context, id string) error { return b.Notes.Delete(c, id) }

// In a test t is the *testing.T; the examples on this page have none.
func setup(h *room.Host) error {
	return h.Register("board", func() room.Handler { return new(Board) },
		room.Action("post", (*Board).Post), room.Action("drop", (*Board).Drop))
}

func Example() {
	t := new(example)
	defer t.end()

	h := roomtest.New(t, setup)
	alice := h.Join("board", "kitchen", "alice")
	bob := h.Join("board", "kitchen", "bob")

	reply := alice.Do("notes", "post", map[string]any{"id": "1", "text": "milk"})
	fmt.Println(reply.Kind, reply.Rows[0].ID())
	for _, e := range bob.Received() {
		fmt.Println(e.Kind, e.Channel, e.Rows[0][1])
	}
	refused := alice.Do("notes", "post", map[string]any{"id": "2"})
	fmt.Println(refused.Code, refused.Message)
	// Output:
	// success 1
	// update notes milk
	// text_empty Write something.
}

// What was acknowledged is there after a crash, and the clients stay connected.
func ExampleHost_CrashRoom() {
	t := new(example)
	defer t.end()

	h := roomtest.New(t, setup)
	alice := h.Join("board", "kitchen", "alice")
	alice.Do("notes", "post", map[string]any{"id": "1", "text": "milk"})
	h.CrashRoom("board", "kitchen")
	fmt.Println(len(alice.Sync("notes")))
	// Output: 1
}

// A client that was away gets what it missed, unasked.
func ExampleHost_Reopen() {
	t := new(example)
	defer t.end()

	h := roomtest.New(t, setup)
	h.Join("board", "kitchen", "alice").Do("notes", "post", map[string]any{"id": "0", "text": "bread"})
	bob := h.Join("board", "kitchen", "bob")
	bob.Sync("notes")
	bob.Confirm() // otherwise the answer may have been lost, and bob would get everything
	h.Reopen()
	h.Join("board", "kitchen", "alice").Do("notes", "post", map[string]any{"id": "1", "text": "milk"})
	bob = h.Join("board", "kitchen", "bob")
	fmt.Println(bob.Next().Rows[0][1])
	// Output: milk
}

// A number is applied once, however often it is sent, and in order.
func ExampleClient_DoNumbered() {
	t := new(example)
	defer t.end()

	h := roomtest.New(t, setup)
	alice := h.Join("board", "kitchen", "alice")
	milk := map[string]any{"id": "1", "text": "milk"}
	first := alice.DoNumbered("alice's phone", 1, "notes", "post", milk)

	h.CrashRoom("board", "kitchen")
	alice = h.Join("board", "kitchen", "another connection")
	again := alice.DoNumbered("alice's phone", 1, "notes", "post", milk)
	fmt.Println(string(again.Data) == string(first.Data), len(alice.Sync("notes")))

	early := alice.DoNumbered("alice's phone", 3, "notes", "post", milk)
	fmt.Println(early.Code, early.Next)
	// Output:
	// true 1
	// mutation_gap 2
}

// A client that keeps its cursor gets what it lacks, deletes too, and no more.
func ExampleClient_Resume() {
	t := new(example)
	defer t.end()

	h := roomtest.New(t, setup)
	bob := h.Join("board", "kitchen", "bob")
	bob.Do("notes", "post", map[string]any{"id": "1", "text": "milk"})
	answer := bob.Resume("notes", nil) // all there is
	cursor := answer[len(answer)-1].Cursor
	bob.Leave()

	alice := h.Join("board", "kitchen", "alice")
	alice.Do("notes", "post", map[string]any{"id": "2", "text": "bread"})
	alice.Do("notes", "drop", "1")
	h.Reopen()

	bob = h.Join("board", "kitchen", "bob's other phone")
	for _, e := range bob.Resume("notes", cursor) {
		for _, row := range e.Rows {
			fmt.Println(row.ID(), row.Deleted())
		}
	}
	// Output:
	// 2 false
	// 1 true
}

// Time stands still until it is told to go on.
func ExampleHost_Advance() {
	t := new(example)
	defer t.end()

	h := roomtest.New(t, setup)
	alice := h.Join("board", "kitchen", "alice")
	alice.Do("notes", "post", map[string]any{"id": "1", "text": "milk"})
	h.Advance(time.Hour)
	alice.Do("notes", "post", map[string]any{"id": "2", "text": "bread"})
	rows := alice.Sync("notes")
	created := func(r roomtest.Row) time.Time { return time.UnixMilli(int64(r[2].(float64))) }
	fmt.Println(created(rows[1]).Sub(created(rows[0])))
	// Output: 1h0m0s
}

// example stands in for a *testing.T.
type example struct{ cleanups []func() }

func (*example) Helper()                           {}
func (*example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (e *example) Cleanup(f func())                { e.cleanups = append(e.cleanups, f) }

func (e *example) TempDir() string {
	dir, err := os.MkdirTemp("", "roomtest")
	if err != nil {
		panic(err)
	}
	e.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (e *example) end() {
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
}
