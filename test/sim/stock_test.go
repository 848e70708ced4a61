package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// A stockSpeech speaks as the published client of partysync does: it asks for each channel once, when it is mounted, and
// merges what comes. It keeps its connection id, and relies on the room for what it missed.
//
// Where the published client would be left without an answer for ever (its question was lost with the link), its user
// would load the page again, and so does this one.
type stockSpeech struct {
	c       *client
	outbox  []any           // queued while there is no connection
	asked   map[string]bool // channels whose answer has not come
	whole   map[string]bool // channels whose answer has come
	waiting map[string]*action
	away    time.Time // since when; zero: connected
	mounts  int
	links   int              // since the mount
	stamps  map[string]int64 // the newest that came, by channel
	from    map[string]int64 // what this mount asks from; no stamp: everything
	again   bool             // sends an action without an answer once more, under its id
}

// remembered is how long a room remembers a connection id (PROTOCOL.md, Resume).
const remembered = 7 * 24 * time.Hour

func newStockSpeech(c *client) *stockSpeech {
	s := &stockSpeech{c: c, waiting: make(map[string]*action), away: c.now()}
	s.again = c.w.rng.IntN(2) == 0
	s.mount()
	return s
}

// mount begins with nothing.
func (s *stockSpeech) mount() {
	s.mounts++
	s.c.connection = fmt.Sprintf("%s-%d", s.c.name, s.mounts)
	s.asked, s.whole = make(map[string]bool), make(map[string]bool)
	s.outbox, s.links = nil, 0
	s.stamps, s.from = make(map[string]int64), make(map[string]int64)
	for _, a := range s.waiting {
		a.fate = unsure
	}
	clear(s.waiting)
	s.c.rows = make(map[string]map[string]row)
	for _, ch := range channels() {
		s.c.rows[ch] = make(map[string]row)
	}
	s.away = s.c.now()
}

// forget loads the page again. One that kept its rows asks for what has changed since the newest stamp among them. That is
// right only where no answer had been under way: what came unasked has no end that could be seen.
func (s *stockSpeech) forget() {
	if len(s.whole) < len(channels()) || s.links != 1 {
		s.mount()
		return
	}
	rows, stamps := s.c.rows, s.stamps
	s.mount()
	s.c.rows, s.from, s.stamps = rows, maps.Clone(stamps), stamps
}

// rewound: what the room knew of the page may be gone, and so the page is loaded again.
func (s *stockSpeech) rewound() {
	if s.c.link != nil {
		s.c.link.drop()
	}
	s.mount()
	for _, ch := range channels() {
		s.c.renew(ch)
	}
}

func (s *stockSpeech) stale() bool {
	return !s.away.IsZero() && s.c.now().Sub(s.away) >= remembered
}

func (s *stockSpeech) opened() {
	s.away = time.Time{}
	s.links++
	for _, ch := range channels() {
		s.ask(ch)
	}
	for _, m := range s.outbox {
		s.c.write(m)
	}
	s.outbox = nil
	if s.again {
		for _, a := range s.c.actions {
			if s.waiting[a.id] == a && a.sent > 0 && s.c.now().Sub(a.at) < remembered {
				s.c.w.stats.Resent++
				a.sent++
				a.nothing = false
				s.c.write(message(a))
			}
		}
	}
	for id, a := range s.waiting {
		switch {
		case a.sent == 0:
			a.sent, a.at = 1, s.c.now()
		case s.c.now().Sub(a.at) >= remembered:
			a.fate = unsure
			delete(s.waiting, id)
		}
	}
}

// ask asks for a channel that is neither held nor asked for.
func (s *stockSpeech) ask(channel string) {
	if s.whole[channel] || s.asked[channel] {
		return
	}
	s.asked[channel] = true
	var from any
	if stamp, there := s.from[channel]; there {
		from = stamp
	}
	s.c.write(map[string]any{"channel": channel, "sync": true, "from": from})
}

func (s *stockSpeech) closed() {
	s.away = s.c.now()
	if len(s.asked) > 0 { // nobody will answer
		s.mount()
		return
	}
	for id, a := range s.waiting {
		if a.sent > 0 && !s.again {
			a.fate = unsure
			delete(s.waiting, id)
		}
	}
}

func message(a *action) any {
	return map[string]any{"id": a.id, "channel": a.channel, "rpc": true,
		"action": map[string]any{"type": a.kind, "payload": json.RawMessage(a.payload)}}
}

func (s *stockSpeech) send(a *action) {
	s.waiting[a.id] = a
	if !s.c.connected() {
		s.outbox = append(s.outbox, message(a))
		return
	}
	a.sent, a.at = 1, s.c.now()
	s.c.write(message(a))
}

func (s *stockSpeech) retry() {
	if !s.c.connected() {
		return
	}
	for _, ch := range channels() {
		s.ask(ch)
	}
}

func (s *stockSpeech) frame(f *frame) {
	switch {
	case f.Sync:
		s.merge(f.Channel, f.Payload)
		if !f.More {
			delete(s.asked, f.Channel)
			s.whole[f.Channel] = true
		}
	case f.Broadcast && f.Type == "update":
		s.merge(f.Channel, f.Payload)
	case f.Broadcast && f.Type == "delete-all":
		s.c.renew(f.Channel)
		s.c.rows[f.Channel] = make(map[string]row) // what follows is all there is
	case f.Type == "success":
		if a := s.waiting[f.ID]; a != nil && a.sent > 1 {
			s.c.rewind(f.Channel, f.Result) // it may be the reply of before: what is newer follows
		}
		s.merge(f.Channel, f.Result)
		s.answer(f, applied)
	case f.Type == "error":
		s.failed(f)
	case f.Type == "exception":
		if s.asked[f.Channel] { // loaded again by its user, when he thinks of it
			delete(s.asked, f.Channel)
		}
	}
}

func (s *stockSpeech) merge(channel string, rows []row) {
	for _, r := range rows {
		s.c.apply(channel, r)
		s.stamps[channel] = max(s.stamps[channel], r.stamp())
	}
}

func (s *stockSpeech) answer(f *frame, to fate) {
	a := s.waiting[f.ID]
	if a == nil {
		return // of an earlier mount
	}
	delete(s.waiting, f.ID)
	s.c.answered(a, f, to)
}

// failed: after some codes nobody knows whether the action was applied.
func (s *stockSpeech) failed(f *frame) {
	a := s.waiting[f.ID]
	to := refused
	if f.unchanged() && a != nil && a.sent == 1 {
		a.nothing = true
	}
	if f.Code == "storage_unavailable" || f.Code == "room_unavailable" || a != nil && a.sent > 1 && passing(f.Code) {
		to = unsure
	}
	s.answer(f, to)
}

func (s *stockSpeech) waits() string {
	for _, ch := range channels() {
		if !s.whole[ch] {
			return "the answer to sync of " + ch
		}
	}
	if len(s.waiting) > 0 {
		return fmt.Sprintf("%d replies", len(s.waiting))
	}
	return ""
}

func (s *stockSpeech) exactly(*action) bool { return false }
