package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/coder/websocket"
)

const (
	channel   = "todos"
	namespace = "todos"
	readLimit = 64 << 20
)

// A message is any that a server sends.
type message struct {
	Type      string            `json:"type"`
	ID        string            `json:"id"`
	Sync      bool              `json:"sync"`
	More      bool              `json:"more"`
	Broadcast bool              `json:"broadcast"`
	Payload   []json.RawMessage `json:"payload"`
	Result    []json.RawMessage `json:"result"`
	Error     json.RawMessage   `json:"error"`
	Code      string            `json:"code"`
	Exception json.RawMessage   `json:"exception"`
}

func (m message) rows() ([]row, error) {
	raws := m.Payload
	if m.Type == "success" {
		raws = m.Result
	}
	rows := make([]row, 0, len(raws))
	for _, raw := range raws {
		r, err := parseRow(raw)
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func dial(ctx context.Context, base, room, id string) (*websocket.Conn, error) {
	address := fmt.Sprintf("%s/parties/%s/%s?_pk=%s", strings.Replace(base, "http", "ws", 1), namespace, url.PathEscape(room), id)
	conn, _, err := websocket.Dial(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(readLimit)
	return conn, nil
}

func receive(ctx context.Context, conn *websocket.Conn) (message, error) {
	var m message
	_, data, err := conn.Read(ctx)
	if err != nil {
		return m, &lostError{err}
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("frame %.200s: %w", data, err)
	}
	if m.Error != nil || m.Exception != nil {
		return m, fmt.Errorf("refused: %.300s", data)
	}
	return m, nil
}

func send(ctx context.Context, conn *websocket.Conn, frame any) error {
	data, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, data); err != nil {
		return &lostError{err}
	}
	return nil
}

// A lostError is the end of a connection, which is what a kill is meant to bring.
type lostError struct{ cause error }

func (e *lostError) Error() string { return "connection lost: " + e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

func syncFrame(from any) map[string]any {
	return map[string]any{"channel": channel, "sync": true, "from": from}
}

func (o op) frame() map[string]any {
	payload := map[string]any{"id": o.row}
	if o.verb != remove {
		payload["text"], payload["completed"] = o.text, o.completed()
	}
	return map[string]any{
		"id": strconv.Itoa(o.n), "channel": channel, "rpc": true,
		"action": map[string]any{"type": o.verb, "payload": payload},
	}
}

// A writer is one client under load: it keeps up to window actions in flight, and notes what it is told.
type writer struct {
	room    string
	window  int
	ledger  *ledger
	ledgers []*ledger // of all clients of this round

	conn  *websocket.Conn
	acked chan struct{} // from the reader to the sender: there may be room for one more
}

// run works until the connection is lost. Any other end is an error.
func (w *writer) run(ctx context.Context) error {
	w.acked = make(chan struct{}, 1)
	if err := send(ctx, w.conn, syncFrame(nil)); err != nil {
		return err
	}
	ctx, lost := context.WithCancel(ctx)
	sender := make(chan error, 1)
	go func() { sender <- w.send(ctx) }() // ends with ctx or the connection
	err := w.receive(context.WithoutCancel(ctx))
	lost()
	if sendErr := <-sender; sendErr != nil && err == nil {
		err = sendErr
	}
	return err
}

func (w *writer) send(ctx context.Context) error {
	for ctx.Err() == nil {
		for w.ledger.inFlight() >= w.window {
			select {
			case <-w.acked:
			case <-ctx.Done():
				return nil
			}
		}
		// What is in flight when the reader stops is sent or not: the ledger counts it as sent.
		if err := send(context.WithoutCancel(ctx), w.conn, w.ledger.next().frame()); err != nil {
			return nil // the reader goes on to the end of what had arrived
		}
	}
	return nil
}

// receive reads to the very end: what the kernel had taken from the server before the kill was seen too.
func (w *writer) receive(ctx context.Context) error {
	highest := map[*ledger]int{}
	for {
		m, err := receive(ctx, w.conn)
		if err != nil {
			return err
		}
		rows, err := m.rows()
		if err != nil {
			return err
		}
		if m.Type == "success" {
			n, err := strconv.Atoi(m.ID)
			if err != nil {
				return fmt.Errorf("reply to %q, which nobody sent", m.ID)
			}
			if err := w.ledger.ack(n, rows); err != nil {
				return err
			}
			select {
			case w.acked <- struct{}{}:
			default:
			}
			continue
		}
		if err := w.note(m, rows, highest); err != nil {
			return err
		}
	}
}

// note takes in a broadcast or a snapshot. Broadcasts show each client's actions in order, none twice.
func (w *writer) note(m message, rows []row, highest map[*ledger]int) error {
	for _, r := range rows {
		for _, l := range w.ledgers {
			if !l.owns(r.id) {
				continue
			}
			n, err := l.saw(r)
			if err != nil {
				return err
			}
			if m.Broadcast {
				if l == w.ledger || n <= highest[l] {
					return fmt.Errorf("client %s was sent action %d of client %s behind action %d", w.ledger.client, n, l.client, highest[l])
				}
				highest[l] = n
			}
		}
	}
	return nil
}

// readRoom reads all rows of a room, tombstones too, and checks that a snapshot shows exactly the live ones. The
// reader is one that the room has never seen, so that it is sent what it asks for and nothing else.
func readRoom(ctx context.Context, base, room, reader string) (map[string]row, error) {
	conn, err := dial(ctx, base, room, reader)
	if err != nil {
		return nil, err
	}
	defer conn.CloseNow()
	live, err := readSync(ctx, conn, nil)
	if err != nil {
		return nil, err
	}
	all, err := readSync(ctx, conn, 1)
	if err != nil {
		return nil, err
	}
	alive := 0
	for id, r := range all {
		if r.deleted {
			continue
		}
		alive++
		if live[id].json != r.json {
			return nil, fmt.Errorf("room %s: row %s is %q in the snapshot and %q among the changes", room, id, live[id].json, r.json)
		}
	}
	if alive != len(live) {
		return nil, fmt.Errorf("room %s: %d rows in the snapshot, %d live ones among the changes", room, len(live), alive)
	}
	return all, nil
}

func readSync(ctx context.Context, conn *websocket.Conn, from any) (map[string]row, error) {
	if err := send(ctx, conn, syncFrame(from)); err != nil {
		return nil, err
	}
	got := map[string]row{}
	for {
		m, err := receive(ctx, conn)
		if err != nil {
			return nil, err
		}
		rows, err := m.rows()
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if _, twice := got[r.id]; twice {
				return nil, fmt.Errorf("row %s came twice in one answer", r.id)
			}
			got[r.id] = r
		}
		if m.Sync && !m.More {
			return got, nil
		}
	}
}
