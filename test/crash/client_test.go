package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	channel   = "todos"
	namespace = "todos"
	readLimit = 64 << 20
	// lateAnswer is how old an action is when the rows that its stock client lacks follow its answer once more, as PROTOCOL.md says.
	lateAnswer = 5 * time.Second
	// catchUpTime is how long a client that came back waits for what it missed.
	catchUpTime = 20 * time.Second
)

// A message is any that a server sends.
type message struct {
	Type      string            `json:"type"`
	ID        string            `json:"id"`
	Sync      bool              `json:"sync"`
	More      bool              `json:"more"`
	Cursor    string            `json:"cursor"`
	Reset     string            `json:"reset"`
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
	if m.Error != nil || m.Exception != nil && m.Code != fenceAnswer {
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

// A fence is a question whose answer stands in its place between all else that a room sends: a sync of a channel that
// is not there.
const (
	fenceChannel = "fence"
	fenceAnswer  = "unknown_channel"
)

// A kind is how a writer comes back.
type kind string

const (
	// numbered: its actions have numbers, and it resumes from a cursor.
	numbered kind = "numbered"
	// stock: as the published client of partysync, with its connection id and the ids of its actions alone. It syncs
	// once, and what it lacks after a reconnect comes unasked.
	stock kind = "stock"
)

// A writer is one client under load, over several servers: it keeps up to window actions in flight, shows what it is
// told, and sends again what it got no answer to.
type writer struct {
	kind    kind
	room    string
	window  int
	ledger  *ledger
	ledgers []*ledger // of all clients that work at this time

	shows  map[string]row // the live rows, as the client knows them
	cursor string         // the newest that it got
	synced bool           // it has had a first answer to sync

	conn    *websocket.Conn
	back    bool          // it was here before, and came back with this connection
	repeats atomic.Bool   // on this connection it sends something again, or got an answer after lateAnswer
	acked   chan struct{} // from the reader to the sender: there may be room for one more
}

// resume connects, and takes in what the writer lacks, up to the end of it.
func (w *writer) resume(ctx context.Context, base string) error {
	conn, err := dial(ctx, base, w.room, w.ledger.client)
	if err != nil {
		return err
	}
	w.back = w.conn != nil
	w.conn = conn
	if err := w.ask(ctx); err != nil {
		return err
	}
	for {
		m, err := receive(ctx, w.conn)
		if err != nil {
			return err
		}
		switch {
		case m.Exception != nil:
			return nil
		case m.Reset != "" && w.cursor != "":
			return fmt.Errorf("client %s was told to begin again: %s", w.ledger.client, m.Reset)
		}
		if _, err := w.take(m); err != nil {
			return err
		}
		if m.Sync && !m.More {
			w.synced = true
			return nil
		}
	}
}

func (w *writer) ask(ctx context.Context) error {
	switch {
	case w.kind == numbered && w.cursor == "":
		return send(ctx, w.conn, map[string]any{"channel": channel, "sync": true, "cursor": nil})
	case w.kind == numbered:
		return send(ctx, w.conn, map[string]any{"channel": channel, "sync": true, "cursor": w.cursor})
	case !w.synced:
		return send(ctx, w.conn, syncFrame(nil))
	}
	return send(ctx, w.conn, map[string]any{"channel": fenceChannel, "sync": true, "from": nil})
}

// take applies a message to what the writer shows, and gives its rows.
func (w *writer) take(m message) ([]row, error) {
	rows, err := m.rows()
	if err != nil {
		return nil, err
	}
	if m.Type == "delete-all" {
		clear(w.shows)
	}
	old := m.Type == "success" && w.kind == numbered && !later(m.Cursor, w.cursor)
	for _, r := range rows {
		switch {
		case old: // the reply to a retry: its rows may be older than those that the client has
		case r.deleted:
			delete(w.shows, r.id)
		default:
			w.shows[r.id] = r
		}
		for _, l := range w.ledgers {
			if l.owns(r.id) {
				if _, err := l.saw(r); err != nil {
					return nil, err
				}
			}
		}
	}
	if m.Cursor != "" && !old {
		w.cursor = m.Cursor
	}
	return rows, nil
}

// later reports whether the cursor of a reply is later than another one, as PROTOCOL.md says under Cursors.
func later(cursor, than string) bool {
	epoch, number, _ := strings.Cut(cursor, ".")
	otherEpoch, other, _ := strings.Cut(than, ".")
	switch {
	case than == "":
		return true
	case epoch != otherEpoch:
		return false
	case len(number) != len(other):
		return len(number) > len(other)
	}
	return number > other
}

// catchUp compares what the writer shows with what there is. What a stock client missed comes unasked and in pieces, between
// which its own questions are answered, so it reads on until it shows everything.
func (w *writer) catchUp(ctx context.Context, rows map[string]row) error {
	differs := w.agrees(rows)
	if w.kind != stock {
		return differs
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	for differs != nil {
		m, err := receive(ctx, w.conn)
		if err != nil {
			return errors.Join(differs, err)
		}
		if _, err := w.take(m); err != nil {
			return err
		}
		differs = w.agrees(rows)
	}
	return nil
}

// agrees compares what the writer shows with what there is.
func (w *writer) agrees(rows map[string]row) error {
	live := 0
	for id, r := range rows {
		if r.deleted {
			continue
		}
		live++
		if w.shows[id].json != r.json {
			return fmt.Errorf("client %s came back and shows row %s as %q instead of %q", w.ledger.client, id, w.shows[id].json, r.json)
		}
	}
	for id, r := range w.shows {
		if rows[id].json != r.json {
			return fmt.Errorf("client %s came back and shows row %s as %q, there is %q", w.ledger.client, id, r.json, rows[id].json)
		}
	}
	return nil
}

// run works until the connection is lost. Any other end is an error.
func (w *writer) run(ctx context.Context) error {
	w.acked = make(chan struct{}, 1)
	ctx, lost := context.WithCancel(ctx)
	sender := make(chan error, 1)
	w.repeats.Store(len(w.ledger.unanswered()) > 0)
	go func() { sender <- w.send(ctx) }() // ends with ctx or the connection
	err := w.receive(context.WithoutCancel(ctx))
	lost()
	if sendErr := <-sender; sendErr != nil && err == nil {
		err = sendErr
	}
	return err
}

// send sends what has had no answer once more, and then new actions.
func (w *writer) send(ctx context.Context) error {
	for _, o := range w.ledger.unanswered() {
		if err := send(context.WithoutCancel(ctx), w.conn, w.frame(o)); err != nil {
			return nil // the reader goes on to the end of what had arrived
		}
	}
	for ctx.Err() == nil {
		for w.ledger.inFlight() >= w.window {
			select {
			case <-w.acked:
			case <-ctx.Done():
				return nil
			}
		}
		// What is in flight when the reader stops is sent or not: the ledger counts it as sent.
		if err := send(context.WithoutCancel(ctx), w.conn, w.frame(w.ledger.next())); err != nil {
			return nil
		}
	}
	return nil
}

func (w *writer) frame(o op) map[string]any {
	payload := map[string]any{"id": o.row}
	if o.verb != remove {
		payload["text"], payload["completed"] = o.text, o.completed()
	}
	frame := map[string]any{
		"id": strconv.Itoa(o.n), "channel": channel, "rpc": true,
		"action": map[string]any{"type": o.verb, "payload": payload},
	}
	if w.kind == numbered {
		frame["client"], frame["mutation"] = w.ledger.client, o.n
	}
	return frame
}

// receive reads to the very end: what the kernel had taken from the server before the kill was seen too.
func (w *writer) receive(ctx context.Context) error {
	highest, newest := map[*ledger]int{}, map[string]int{}
	for _, l := range w.ledgers {
		highest[l] = l.there
	}
	for {
		m, err := receive(ctx, w.conn)
		if err != nil {
			return err
		}
		rows, err := w.take(m)
		if err != nil {
			return err
		}
		if m.Type == "success" {
			if err := w.answered(m, rows); err != nil {
				return err
			}
			continue
		}
		if err := w.inOrder(m, rows, highest, newest); err != nil {
			return err
		}
	}
}

func (w *writer) answered(m message, rows []row) error {
	n, err := strconv.Atoi(m.ID)
	if err != nil {
		return fmt.Errorf("reply to %q, which nobody sent", m.ID)
	}
	if err := w.ledger.ack(n, rows, w.kind == stock && w.repeats.Load()); err != nil {
		return err
	}
	if w.ledger.age(n) >= lateAnswer { // the machine or its disk stood still
		w.repeats.Store(true)
	}
	select {
	case w.acked <- struct{}{}:
	default:
	}
	return nil
}

// inOrder: updates show each other client's actions in order, none twice, and none that the writer knew when it came back:
// to a client that takes cursors. A stock one that came back, or was answered late, may get rows that it has once more, its own too,
// as they are by then: never an older one than it was sent on this connection.
func (w *writer) inOrder(m message, rows []row, highest map[*ledger]int, newest map[string]int) error {
	if !m.Broadcast {
		return nil
	}
	for _, r := range rows {
		for _, l := range w.ledgers {
			if !l.owns(r.id) {
				continue
			}
			n, err := l.saw(r)
			if err != nil {
				return err
			}
			before := highest[l]
			if w.kind == stock && (w.back || w.repeats.Load()) {
				before = newest[r.id] - 1
			} else if l == w.ledger {
				before = n
			}
			if n <= before {
				return fmt.Errorf("client %s was sent action %d of client %s, made %v ago, after action %d",
					w.ledger.client, n, l.client, l.age(n).Round(time.Millisecond), before)
			}
			highest[l], newest[r.id] = max(n, highest[l]), n
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
