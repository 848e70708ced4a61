package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A cursorSpeech speaks as PROTOCOL.md says that a client resumes and retries, and was written from that page alone.
type cursorSpeech struct {
	c      *client
	mounts int
	names  int

	// Resume: for each channel the cursor that its rows are at, and where it stands on this connection; the latest cursor
	// that came on it.

	cursors map[string]string
	states  map[string]*standing
	latest  string
	loose   map[string]bool // rows of the journal that came since the last cursor: they may come again

	// Exactly once: the actions without a final answer in the order of their numbers, and how many of them are on the link.

	id      string
	next    uint64
	queue   []*action
	sent    int
	unheard int  // sent on this link, without an answer
	held    bool // something was refused for a while: nothing is sent until the next try
	gap     bool // the server wants some again: they are sent when all that is on the way has been answered
}

// A standing is where a channel stands on a connection. One that is not there is not even asked for.
type standing struct {
	phase phase
	null  bool           // the cursor that was sent
	rows  map[string]row // the copy; nil: there is none
}

// A phase is what PROTOCOL.md calls a state.
type phase uint8

const (
	asked phase = iota
	answering
	live
)

func newCursorSpeech(c *client) *cursorSpeech {
	s := &cursorSpeech{c: c}
	s.mount()
	return s
}

func (s *cursorSpeech) mount() {
	s.mounts++
	s.c.connection = fmt.Sprintf("%s-%d", s.c.name, s.mounts)
	s.cursors, s.loose = make(map[string]string), make(map[string]bool)
	s.rename()
}

// rename takes a new client id. What was sent under the old one is left to its fate.
func (s *cursorSpeech) rename() {
	s.names++
	s.id, s.next = fmt.Sprintf("%013d.%s-%d-%d-of-the-simulation", s.c.now().UnixMilli(), s.c.name, s.mounts, s.names), 1
	left := s.queue
	s.queue, s.sent = nil, 0
	for _, a := range left {
		if a.sent > 0 {
			a.fate = unsure
			continue
		}
		s.enqueue(a)
	}
}

func (s *cursorSpeech) enqueue(a *action) {
	a.number = s.next
	s.next++
	s.queue = append(s.queue, a)
}

// forget loses what a page keeps in memory; its queue is gone with it.
func (s *cursorSpeech) forget() {
	for _, a := range s.queue {
		a.fate = unsure
	}
	s.queue = nil
	for _, ch := range channels() {
		s.c.rows[ch] = make(map[string]row)
	}
	s.mount()
}

func (s *cursorSpeech) rewound() {}

func (s *cursorSpeech) stale() bool { return false }

// opened: the actions come before the questions.
func (s *cursorSpeech) opened() {
	s.states, s.latest = make(map[string]*standing), ""
	s.sent, s.unheard, s.held, s.gap = 0, 0, false, false
	s.flush()
	for _, ch := range channels() {
		s.ask(ch)
	}
}

func (s *cursorSpeech) ask(channel string) {
	var cursor any
	if held, there := s.cursors[channel]; there {
		cursor = held
	}
	s.states[channel] = &standing{null: cursor == nil}
	s.c.write(map[string]any{"channel": channel, "sync": true, "cursor": cursor})
}

func (s *cursorSpeech) closed() { s.states = nil }

func (s *cursorSpeech) send(a *action) {
	s.enqueue(a)
	s.flush()
}

// flush sends what is not on the link.
func (s *cursorSpeech) flush() {
	if !s.c.connected() || s.held || s.gap {
		return
	}
	for ; s.sent < len(s.queue); s.sent++ {
		a := s.queue[s.sent]
		if a.sent++; a.sent > 1 {
			s.c.w.stats.Resent++
		}
		a.nothing = false
		s.unheard++
		s.c.write(map[string]any{"id": a.id, "channel": a.channel, "rpc": true, "client": s.id, "mutation": a.number,
			"action": map[string]any{"type": a.kind, "payload": json.RawMessage(a.payload)}})
	}
}

func (s *cursorSpeech) retry() {
	if !s.c.connected() {
		return
	}
	for _, ch := range channels() {
		if s.states[ch] == nil {
			s.ask(ch)
		}
	}
	if s.unheard == 0 {
		s.held, s.gap = false, false
		s.flush()
	}
}

func (s *cursorSpeech) frame(f *frame) {
	switch {
	case f.Sync:
		s.page(f)
	case f.Broadcast && f.Type == "update":
		s.take(f.Channel, f.Payload)
	case f.Broadcast && f.Type == "delete-all":
		s.clear(f.Channel)
	case f.Type == "success":
		s.succeeded(f)
	case f.Type == "error":
		s.failed(f)
	case f.Type == "exception":
		delete(s.states, f.Channel) // asked for again after a pause
	}
	for _, cursor := range []string{f.At, f.Cursor} {
		if cursor != "" && (s.latest == "" || later(f, cursor, s.latest)) {
			s.latest = cursor
		}
	}
	if f.Cursor != "" && !f.Sync {
		s.reach(f)
	}
}

// reach: all channels that are live have got to a cursor.
func (s *cursorSpeech) reach(f *frame) {
	for ch, st := range s.states {
		if st.phase != live {
			continue
		}
		if later(f, f.Cursor, s.cursors[ch]) {
			s.cursors[ch] = f.Cursor
		}
		if ch == "journal" {
			clear(s.loose)
		}
	}
}

// later reports whether a cursor in a frame is a later one than another. That of another history is, but for that of a reply:
// it may be a stored one.
func later(f *frame, a, b string) bool {
	historyA, seqA, _ := strings.Cut(a, ".")
	historyB, seqB, _ := strings.Cut(b, ".")
	if historyA != historyB {
		return f.Type != "success"
	}
	return (len(seqA) > len(seqB) || len(seqA) == len(seqB) && seqA > seqB)
}

// page takes a part of an answer to sync.
func (s *cursorSpeech) page(f *frame) {
	st := s.states[f.Channel]
	if st == nil || st.phase == live {
		s.c.failf("%s got an answer to sync of %s that it did not ask for", s.c.name, f.Channel)
		return
	}
	if st.phase == asked {
		st.phase = answering
		if f.Reset != "" || st.null {
			st.rows = make(map[string]row)
		}
		if f.Reset != "" {
			s.c.w.stats.Resets++
		}
	} else if f.Reset != "" {
		s.c.failf("%s: a reset of %s in the middle of the answer", s.c.name, f.Channel)
	}
	s.take(f.Channel, f.Payload)
	if f.More {
		return
	}
	if f.Cursor == "" {
		s.c.failf("%s: the answer to sync of %s has no cursor", s.c.name, f.Channel)
	}
	if st.rows != nil {
		s.c.renew(f.Channel)
		s.c.replace(f.Channel, slices.SortedFunc(maps.Values(st.rows), func(a, b row) int { return strings.Compare(a.raw, b.raw) }))
	} else {
		s.c.w.stats.Resumes++
	}
	st.phase, st.rows = live, nil
	s.cursors[f.Channel] = f.Cursor
	if f.Channel == "journal" {
		clear(s.loose)
	}
}

// take applies rows to the copy of a channel, or to what the client holds.
func (s *cursorSpeech) take(channel string, rows []row) {
	st := s.states[channel]
	if st == nil || st.phase == asked {
		return // the answer will contain them
	}
	for _, r := range rows {
		switch {
		case st.rows == nil:
			s.once(channel, r)
			s.c.apply(channel, r)
		case r.deleted():
			delete(st.rows, r.key())
		default:
			st.rows[r.key()] = r
		}
	}
}

// once: a row of the journal never changes, so one that comes again is a repetition.
func (s *cursorSpeech) once(channel string, r row) {
	if channel != "journal" {
		return
	}
	if _, held := s.c.rows[channel][r.key()]; held && !s.loose[r.key()] {
		s.c.failf("%s got a row of the journal twice: %s", s.c.name, r.raw)
	}
	s.loose[r.key()] = true
}

func (s *cursorSpeech) clear(channel string) {
	st := s.states[channel]
	switch {
	case st == nil || st.phase == asked:
	case st.rows != nil:
		clear(st.rows)
	default:
		s.c.renew(channel)
		s.c.rows[channel] = make(map[string]row)
	}
	if channel == "journal" {
		for key := range s.c.rows[channel] {
			s.loose[key] = true
		}
	}
}

// reply finds the action that a frame answers; the answer may be older than the link's last try.
func (s *cursorSpeech) reply(f *frame) int {
	s.unheard = max(s.unheard-1, 0)
	return slices.IndexFunc(s.queue, func(a *action) bool { return a.id == f.ID })
}

func (s *cursorSpeech) succeeded(f *frame) {
	i := s.reply(f)
	if i < 0 {
		return
	}
	if f.Number != "used" {
		s.c.failf("%s: a success does not use its number up: %s", s.c.name, f.ID)
	}
	if s.latest == "" || later(f, f.Cursor, s.latest) {
		s.take(f.Channel, f.Result) // or else it is the reply to a retry, and its rows are old
	}
	if st := s.states[f.Channel]; f.Resync && st != nil && st.phase == live {
		s.ask(f.Channel) // the rows were too many to be kept with the reply
	}
	s.finish(i, f, applied)
}

func (s *cursorSpeech) finish(i int, f *frame, to fate) {
	s.c.answered(s.queue[i], f, to)
	s.queue = slices.Delete(s.queue, i, i+1)
	if i < s.sent {
		s.sent--
	}
	s.resume()
}

// resume sends again what the server asked for, when nothing is on the way.
func (s *cursorSpeech) resume() {
	if s.unheard == 0 && s.gap && !s.held {
		s.gap = false
		s.flush()
	}
}

func (s *cursorSpeech) failed(f *frame) {
	i := s.reply(f)
	switch {
	case i < 0:
		s.resume()
		return
	default:
		s.queue[i].nothing = f.unchanged() && s.queue[i].sent == 1
	}
	switch {
	case f.Number == "used" && f.Code == "already_applied": // some answer, and nobody knows which
		s.finish(i, f, unsure)
		return
	case f.Number == "used":
		s.finish(i, f, refused)
		return
	case f.Number != "kept":
		s.c.failf("%s: a reply to number %d does not say what became of it: %s", s.c.name, s.queue[i].number, f.Code)
	case f.Code == "mutation_gap" || f.Code == "unknown_client" && f.Next == s.queue[0].number:
		s.again(f)
	case f.Code == "unknown_client":
		s.rename()
		s.gap = true
	case !passing(f.Code):
		s.c.failf("%s: the number %d is kept with a code that is final: %s", s.c.name, s.queue[i].number, f.Code)
	default:
		s.held, s.sent = true, 0
	}
	s.resume()
}

// again goes back to the number that the server wants next. It can only be one without an answer.
func (s *cursorSpeech) again(f *frame) {
	first := slices.IndexFunc(s.queue, func(a *action) bool { return a.number == f.Next })
	if first < 0 && f.Next < s.next && len(s.c.w.rewinds[s.c.room]) > 0 {
		s.rename() // the room has lost what it acknowledged
		s.gap = true
		return
	}
	if first < 0 && f.Next != s.next {
		s.c.failf("%s: the server wants %d next, which has had its answer: %d to %d are waiting", s.c.name, f.Next, s.next-uint64(len(s.queue)), s.next-1)
		return
	}
	if first >= 0 {
		s.sent, s.gap = 0, true
	}
}

func (s *cursorSpeech) waits() string {
	for _, ch := range channels() {
		if st := s.states[ch]; st == nil || st.phase != live {
			return "the answer to sync of " + ch
		}
	}
	if len(s.queue) > 0 {
		return fmt.Sprintf("%d replies", len(s.queue))
	}
	return ""
}

// exactly: what was given up is applied once or not at all, everything else has had its answer.
func (s *cursorSpeech) exactly(a *action) bool { return a.fate == applied }
