package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

type verb string

const (
	create verb = "create"
	update verb = "update"
	remove verb = "delete"
)

// An op is one action of a client, the n-th, counted from 1.
type op struct {
	n    int
	verb verb
	row  string // the id that it is about
	text string
	sent time.Time // for the first time
}

func (o op) completed() int { return o.n % 2 }

// A row is one row of the wire, with the JSON that it came as.
type row struct {
	json      string
	id        string
	text      string
	completed int
	deleted   bool
}

func parseRow(raw json.RawMessage) (row, error) {
	var id string
	var text *string
	var completed *int
	var created, updated, deleted *int64
	fields := []any{&id, &text, &completed, &created, &updated, &deleted}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return row{}, fmt.Errorf("row %s: %w", raw, err)
	}
	if len(fields) != 6 || id == "" {
		return row{}, fmt.Errorf("row %s: want six columns and an id", raw)
	}
	r := row{json: string(raw), id: id, deleted: deleted != nil}
	if r.deleted {
		return r, nil
	}
	if text == nil || completed == nil || created == nil || updated == nil || *updated < *created {
		return row{}, fmt.Errorf("row %s: a live row lacks something", raw)
	}
	r.text, r.completed = *text, *completed
	return r, nil
}

// A ledger is what the world knows of one client's actions. Its methods are safe from any goroutine.
type ledger struct {
	client string
	rng    *rand.Rand // owned by the client's writer

	mu      sync.Mutex
	ops     []op           // sent, or about to be
	acked   int            // replies have come up to this op
	seen    int            // the highest op that a client was told of, by reply, broadcast or snapshot
	told    map[int]string // op → the row's JSON, as the first that was told of it got it
	deleter map[string]int // row → the op that deletes it
	byText  map[string]int // text → op
	live    []string       // rows that are there once all ops are applied

	there int // ops that were found to be applied after the last kill; owned by the test's goroutine, read by writers while it waits
}

func newLedger(client string, rng *rand.Rand) *ledger {
	return &ledger{client: client, rng: rng, told: map[int]string{}, deleter: map[string]int{}, byText: map[string]int{}}
}

// next decides on one more op and counts it as sent.
func (l *ledger) next() op {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := op{n: len(l.ops) + 1, verb: create, sent: time.Now()}
	if len(l.live) > 0 {
		o.verb = []verb{create, create, update, update, remove}[l.rng.IntN(5)]
	}
	switch o.verb {
	case create:
		o.row = fmt.Sprintf("%s.%d", l.client, o.n)
		l.live = append(l.live, o.row)
	case update:
		o.row = l.live[l.rng.IntN(len(l.live))]
	case remove:
		i := l.rng.IntN(len(l.live))
		o.row = l.live[i]
		l.live[i] = l.live[len(l.live)-1]
		l.live = l.live[:len(l.live)-1]
		l.deleter[o.row] = o.n
	}
	if o.verb != remove {
		o.text = fmt.Sprintf("%s #%d %s", l.client, o.n, strings.Repeat("x", l.rng.IntN(400)))
		l.byText[o.text] = o.n
	}
	l.ops = append(l.ops, o)
	return o
}

// age is how long ago an op was sent for the first time.
func (l *ledger) age(n int) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 1 || n > len(l.ops) {
		return 0
	}
	return time.Since(l.ops[n-1].sent)
}

// owns reports whether a row is one of this client's.
func (l *ledger) owns(id string) bool { return strings.HasPrefix(id, l.client+".") }

// saw notes that somebody was told of a row, and returns the op that made it so.
func (l *ledger) saw(r row) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.byText[r.text]
	if r.deleted {
		n = l.deleter[r.id]
	}
	if n == 0 || l.ops[n-1].row != r.id {
		return 0, fmt.Errorf("client %s sent no action that makes the row %s", l.client, r.json)
	}
	l.seen = max(l.seen, n)
	if before, ok := l.told[n]; ok && before != r.json {
		return 0, fmt.Errorf("action %d of client %s was told as %s and as %s", n, l.client, before, r.json)
	}
	l.told[n] = r.json
	return n, nil
}

// ack notes a reply. Replies come in the order of the actions, each with the one row that it is about; one that may be bare
// can come without it, because its row follows.
func (l *ledger) ack(n int, rows []row, mayBeBare bool) error {
	made := n
	switch {
	case len(rows) == 1:
		var err error
		if made, err = l.saw(rows[0]); err != nil {
			return err
		}
	case len(rows) > 1 || !mayBeBare:
		return fmt.Errorf("action %d of client %s: reply with %d rows", n, l.client, len(rows))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if made != n || n != l.acked+1 {
		return fmt.Errorf("client %s: reply %d about action %d came after reply %d", l.client, n, made, l.acked)
	}
	l.acked = n
	return nil
}

// unanswered are the ops that have had no reply.
func (l *ledger) unanswered() []op {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ops[l.acked:])
}

func (l *ledger) inFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ops) - l.acked
}

// applied finds the k for which rows, which holds this client's and maybe others', is what its first k actions
// make. Its error tells what is wrong for the least k that would keep all promises.
func (l *ledger) applied(rows map[string]row) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	least := max(l.acked, l.seen, l.there)
	state := map[string]op{}
	count := 0
	for id := range rows {
		if l.owns(id) {
			count++
		}
	}
	var first error
	for k := 0; k <= len(l.ops); k++ {
		if k > 0 {
			state[l.ops[k-1].row] = l.ops[k-1]
		}
		if k < least {
			continue
		}
		err := l.compare(state, rows, count)
		if err == nil {
			return k, nil
		}
		if first == nil {
			first = err
		}
	}
	return 0, fmt.Errorf("client %s: %d actions sent, %d acknowledged, %d seen by anybody, %d found before, and what is there fits no number from %d on: %w",
		l.client, len(l.ops), l.acked, l.seen, l.there, least, first)
}

func (l *ledger) compare(state map[string]op, rows map[string]row, count int) error {
	live := 0
	for id, o := range state {
		r, there := rows[id]
		if o.verb == remove {
			if there {
				return fmt.Errorf("row %s is %s after action %d (%s)", id, r.json, o.n, o.verb)
			}
			continue
		}
		live++
		switch {
		case !there:
			return fmt.Errorf("row %s is not there after action %d (%s)", id, o.n, o.verb)
		case r.deleted || r.text != o.text || r.completed != o.completed():
			return fmt.Errorf("row %s is %s after action %d (%s %q %d)", id, r.json, o.n, o.verb, o.text, o.completed())
		case l.told[o.n] != "" && l.told[o.n] != r.json:
			return fmt.Errorf("row %s is %s, and was told as %s", id, r.json, l.told[o.n])
		}
	}
	if count != live {
		return fmt.Errorf("%d rows are there instead of %d", count, live)
	}
	return nil
}
