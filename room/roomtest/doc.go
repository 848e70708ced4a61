// Package roomtest drives rooms with no sockets, as net/http/httptest drives
// handlers with no network: join clients, send actions, read what each one got,
// put a room to sleep or crash it, restart the whole host, let virtual time pass.
//
//	h := roomtest.New(t, func(h *room.Host) error {
//		return h.Register("todos", func() room.Handler { return new(Todos) }, …)
//	})
//	alice := h.Join("todos", "kitchen", "alice")
//	bob := h.Join("todos", "kitchen", "bob")
//	reply := alice.Do("todos", "create", map[string]any{"id": "1", "text": "milk"})
//	got := bob.Received()
//
// The rooms are real: a real database in a temporary directory, the real frames of
// the protocol. Only sockets and the clock are not. Nothing here sleeps: Do returns
// when the reply is there, Received when the room has served all that was sent to it
// before. Time stands still until Advance.
//
// A Host and its Clients belong to the test's goroutine, but for Send, which several
// clients may use from goroutines of their own.
package roomtest
