package room

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/actor"
	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/syncproto"
)

// When a client's id says that it was made, and when a room may have forgotten it.
func TestClientAge(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	rest := strings.Repeat("r", 16)
	for client, want := range map[string]int64{
		"1700000000000." + rest:     1_700_000_000_000,
		"0000000000001." + rest:     1,
		"1700086400000." + rest:     1_700_086_400_000, // a day ahead
		"1700086400001." + rest:     0,
		"1700000000000." + rest[1:]: 0,
		"170000000000." + rest:      0,
		"17000000000000." + rest:    0,
		"1700000000000" + rest:      0,
		"170000000000/." + rest:     0,
		"170000000000:." + rest:     0,
		"1700000000009." + rest:     1_700_000_000_009,
		"":                          0,
	} {
		if got := madeAt(client, now); got != want {
			t.Errorf("%q was made at %d, want %d", client, got, want)
		}
	}
	nb := &numbers{room: &room{node: &node{opts: Options{ClientRetention: time.Hour}}}}
	for at, want := range map[int64]bool{-3_600_000: true, -3_599_999: false, -3_600_001: true, 0: false} {
		if got := nb.mayBeForgotten(fmt.Sprintf("%013d.%s", now.UnixMilli()+at, rest), now); got != want {
			t.Errorf("made %d ms ago it may be forgotten: %v", -at, got)
		}
	}
	if nb.mayBeForgotten("somebody", now) {
		t.Error("an id without a time may be forgotten")
	}
}

// A text is cut at its limit, and not within a character.
func TestClip(t *testing.T) {
	for _, c := range []struct {
		s    string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"äbc", 1, ""}, {"aäc", 2, "a"}, {"aäc", 3, "aä"}, {"a€", 3, "a"}, {"a€", 2, "a"}, {"abc", 0, ""}, {"", 0, ""}} {
		if got := clip(c.s, c.n); got != c.want {
			t.Errorf("%q cut at %d: %q, want %q", c.s, c.n, got, c.want)
		}
	}
	for code, fine := range map[string]bool{"a": true, "a_1": true, strings.Repeat("a", 64): true, "": false, "1a": false, "_a": false, "A": false, "a-b": false, strings.Repeat("a", 65): false} {
		err := func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = nil
				}
			}()
			return Abort(code, strings.Repeat("m", 501))
		}()
		if fine != (err != nil) {
			t.Errorf("the code %q: %v", code, err)
		}
		if got, message := ErrorCode(err); fine && (string(got) != code || len(message) != 500) {
			t.Errorf("the code %q is sent as %s, with %d bytes", code, got, len(message))
		}
	}
}

// What a failure means for an action's number.
func TestJudge(t *testing.T) {
	panicked := &panicError{text: "x"}
	for _, c := range []struct {
		err  error
		want verdict
	}{
		{errors.New("no"), verdictUsed},
		{Abort("nope", "x"), verdictUsed},
		{storage.ErrConstraint, verdictUsed},
		{fmt.Errorf("%w: %w", storage.ErrBatchLost, storage.ErrConstraint), verdictUsed},
		{panicked, verdictTried},
		{fmt.Errorf("%w: %w", panicked, storage.ErrIO), verdictKept},
		{storage.ErrBatchLost, verdictTried},
		{&Error{Code: syncproto.CodeActionTimeout}, verdictTried},
		{storage.ErrInterrupted, verdictTried},
		{&Error{Code: syncproto.CodeAborted}, verdictKept},
		{storage.ErrClosed, verdictKept},
		{fmt.Errorf("%w: %w", panicked, storage.ErrClosed), verdictKept},
		{storage.ErrIO, verdictKept},
		{storage.ErrFull, verdictKept},
		{storage.ErrCorrupt, verdictKept},
		{hibernate.ErrMemory, verdictKept},
		{actor.ErrOverloaded, verdictKept},
		{actor.ErrStopped, verdictKept},
		{actor.ErrUnavailable, verdictKept},
		{storage.ErrRoomFull, judgeFull()},
	} {
		if got := judge(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
	for err, same := range map[error]bool{storage.ErrIO: true, actor.ErrOverloaded: true, errors.New("no"): false, panicked: false} {
		again := tryAgain(err)
		if code, _ := ErrorCode(again); !code.Retryable() || (again == err) != same || !errors.Is(again, err) {
			t.Errorf("%v, to be tried again: %v", err, again)
		}
	}
	for err, want := range map[error]bool{storage.ErrFull: true, fmt.Errorf("%w: %w", storage.ErrFull, storage.ErrIO): false, storage.ErrIO: false} {
		if full(err) != want {
			t.Errorf("%v is of a full disk, where nothing was written: %v", err, !want)
		}
	}
	if full(nil) || storageFailed(nil) || storageFailed(errors.New("x")) || !storageFailed(storage.ErrCorrupt) {
		t.Error("what has failed is not the storage, or is")
	}
}

// judgeFull is what a full room means: whether it passes is said by its code.
func judgeFull() verdict {
	if syncproto.CodeRoomFull.Retryable() {
		return verdictKept
	}
	return verdictUsed
}

// What a message takes of the mailbox's memory.
func TestMessageSizes(t *testing.T) {
	r := &http.Request{RequestURI: "/abc", Header: http.Header{"Ab": {"1", "234"}, "C": {""}}}
	conn := &hibernate.Connection{Serial: 7}
	m := &connectMessage{conn: conn, request: r}
	for _, c := range []struct {
		m    actor.Sized
		want int
	}{
		{m, 512 + 4 + 2 + 1 + 3 + 1},
		{&connectMessage{conn: conn}, 512},
		{&closeMessage{conn: conn, reason: "bye"}, 515},
		{&actionMessage{conn: conn, frameBytes: 100, action: ActionRequest{Payload: []byte("12345")}}, 612},
		{&actionMessage{conn: conn, frameBytes: 100, action: ActionRequest{Payload: []byte("12345")}, in: 1}, 617},
		{&syncMessage{conn: conn, frameBytes: 9}, 521},
		{&rawMessage{conn: conn, message: Message{Data: []byte("12")}}, 514},
		{&requestMessage{request: r, sender: 7, bodyBytes: 1000}, 512 + 1000 + 11},
		{&holdMessage{conn: conn}, 0},
		{&thenMessage{sender: 7}, 0},
	} {
		if got := c.m.Size(); got != c.want {
			t.Errorf("%T takes %d bytes, want %d", c.m, got, c.want)
		}
		if sender := c.m.Sender(); sender != 7 {
			t.Errorf("%T is sent by %d", c.m, sender)
		}
	}
	h := new(Host)
	h.node.process.hashes = maphash.MakeSeed()
	request := func(address string) *http.Request { return &http.Request{RemoteAddr: address} }
	alice, bob := Identity{Subject: "alice"}, Identity{Subject: "bob"}
	if h.node.sender(alice, request("a:1")) != h.node.sender(alice, request("b:2")) || h.node.sender(alice, request("a:1")) == h.node.sender(bob, request("a:1")) {
		t.Error("a user is known by an address")
	}
	if h.node.sender(Identity{}, request("10.0.0.1:1")) != h.node.sender(Identity{}, request("10.0.0.1:2")) || h.node.sender(Identity{}, request("10.0.0.1:1")) == h.node.sender(Identity{}, request("10.0.0.2:1")) {
		t.Error("nobody in particular is not known by the host's address alone")
	}
	if h.node.sender(Identity{}, request("odd")) == h.node.sender(Identity{}, request("odder")) || h.node.sender(Identity{}, request("odd"))>>63 != 1 || h.node.sender(alice, request("x"))>>63 != 1 {
		t.Error("an address of another form, or a user, may be taken for another or for a connection")
	}
}

// The failures of so many rooms are remembered, the newest.
func TestHostFaults(t *testing.T) {
	var f failures
	start := time.UnixMilli(1_700_000_000_000)
	room := func(i int) Key { return Key{Namespace: "n", Room: fmt.Sprint(i)} }
	known := func(i int) bool {
		_, there := f.of(room(i))
		return there
	}
	for i := range maxFailures {
		f.note(room(i), errors.New("no"), start.Add(time.Duration(i)))
	}
	if !known(0) || !known(maxFailures-1) {
		t.Errorf("at the limit %d are remembered", len(f.rooms))
	}
	f.note(room(maxFailures), errors.New("no"), start.Add(time.Hour))
	if known(0) || !known(1) || !known(maxFailures) {
		t.Error("beyond it the oldest is remembered, or another is not")
	}
}

// A turn knows who has come and gone in it, before that is written down.
func TestRosterOfATurn(t *testing.T) {
	ro := new(roster)
	came, gone := noteKey{1, 1}, noteKey{1, 2}
	ro.known = map[noteKey]struct{}{gone: {}}
	expect := func(when string, knowsCame, knowsGone bool) {
		t.Helper()
		if a, b := ro.knows(came), ro.knows(gone); a != knowsCame || b != knowsGone {
			t.Errorf("%s: knows %v and %v", when, a, b)
		}
	}
	expect("at first", false, true)
	ro.stage(note{came, new(hibernate.Connection)})
	expect("when one has come", true, true)
	ro.stage(note{gone, nil})
	expect("when the other has gone", true, false)
	ro.stage(note{came, nil})
	expect("when both have gone", false, false)
}

// How many rooms may be awake with so many descriptors.
func TestCheckDescriptors(t *testing.T) {
	for _, c := range []struct {
		awake, limit int
		want         int
		ok           bool
	}{
		{0, 0, 2048, true}, {-1, 0, 2048, true}, {0, 1024, 208, true}, {0, 1 << 20, 2048, true}, {0, 8384, 2048, true}, {0, 8380, 2047, true}, {0, 192, 1, true}, {0, 98, 1, true}, {0, 97, 1, false},
		{10, 116, 10, true}, {10, 115, 10, false}, {10, 0, 10, true}, {5000, 0, 5000, true},
	} {
		o := Options{MaxAwake: c.awake}
		if err := o.checkDescriptors(c.limit); (err == nil) != c.ok || o.MaxAwake != c.want {
			t.Errorf("%d awake with %d descriptors: %d, %v", c.awake, c.limit, o.MaxAwake, err)
		}
	}
}

// What a client gets of each error: a code and a text that was written for it.
func TestErrorCodes(t *testing.T) {
	for err, want := range map[error]syncproto.Code{
		ErrNotFound: syncproto.CodeNotFound, storage.ErrIO: syncproto.CodeStorageUnavailable, storage.ErrRoomFull: syncproto.CodeRoomFull, storage.ErrFull: syncproto.CodeStorageUnavailable,
		storage.ErrTooLarge: syncproto.CodeTooLarge, storage.ErrConstraint: syncproto.CodeConflict, storage.ErrBatchLost: syncproto.CodeAborted, context.DeadlineExceeded: syncproto.CodeActionTimeout,
		actor.ErrStopped: syncproto.CodeShuttingDown, errors.New("SELECT secret"): syncproto.CodeActionFailed, &Error{Code: "BAD CODE", Message: "x"}: syncproto.CodeActionFailed,
		&syncproto.Error{Code: syncproto.CodeFrameTooLarge, Message: "x"}: syncproto.CodeFrameTooLarge,
	} {
		for _, err := range []error{err, fmt.Errorf("/data/x.db: %w", err)} {
			code, message := ErrorCode(err)
			if code != want || message == "" || strings.Contains(message, "/data") || strings.Contains(message, "secret") {
				t.Errorf("%v: %s, %q", err, code, message)
			}
		}
	}
	for err, want := range map[error]bool{&Error{}: true, &syncproto.Error{}: true, ErrNotFound: true, errUnhandled: true, storage.ErrIO: false, errors.New("x"): false} {
		if written(err) != want || written(fmt.Errorf("x: %w", err)) != want {
			t.Errorf("%v was written for the client: %v", err, !want)
		}
	}
	if (&Error{Code: "a", Message: "b"}).Error() != "a: b" {
		t.Error("an error's text has no code")
	}
}
