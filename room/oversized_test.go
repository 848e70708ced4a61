package room_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

// What is too long is refused by what its beginning says that it is. A numbered action uses its number up, so that its client goes on,
// and is refused in the same way when it comes again.
func TestOversized(t *testing.T) {
	h, _ := open(t)
	link := new(tapped)
	s, err := h.Connect(t.Context(), shopKey, room.ConnectRequest{ID: "alice", Link: link})
	if err != nil {
		t.Fatal(err)
	}
	const numbered = `{"rpc":true,"channel":"items","id":"x","client":"cccccccccccccccccccc","mutation":%d,"action":{"type":"put","payload":{"id":"long`
	for _, c := range []struct {
		head   string
		binary bool
		want   []string // of the one frame that comes
		not    []string
	}{
		{head: "\x00\x01", binary: true, want: []string{`"frame_too_large"`, "longer than 77 bytes"}, not: []string{`"channel"`, `"id"`}},
		{head: `{"rpc":true,"channel":"items","id":"7","action":{"type":"put","payload":"lo`, want: []string{`"frame_too_large"`, `"items"`, `"7"`}, not: []string{"number"}},
		{head: `{"channel":"items","sync":true,`, want: []string{`"frame_too_large"`, `"exception"`}},
		{head: `{"rpc":true,"id":"7","mutation":1,"client":"cccccccccccccccccccc","action":{`, want: []string{`"frame_too_large"`}, not: []string{"number"}},
		{head: `garbage`, want: []string{`"frame_too_large"`}},
		{head: fmt.Sprintf(numbered, 1), want: []string{`"frame_too_large"`, `"items"`, `"x"`, `used`}},
		{head: fmt.Sprintf(numbered, 1), want: []string{`"frame_too_large"`, `"items"`, `"x"`, `used`}},
		{head: fmt.Sprintf(numbered, 3), want: []string{`"mutation_gap"`}},
		{head: fmt.Sprintf(numbered, 2), want: []string{`"frame_too_large"`, `used`}},
	} {
		link.take()
		if err := s.Oversized([]byte(c.head), c.binary, 77); err != nil {
			t.Fatal(err)
		}
		if err := h.Settle(t.Context(), shopKey); err != nil {
			t.Fatal(err)
		}
		frames := link.take()
		if len(frames) != 1 || !json.Valid([]byte(frames[0])) {
			t.Errorf("%s: %q", c.head, frames)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(frames[0], want) {
				t.Errorf("%s: %s, want %s in it", c.head, frames[0], want)
			}
		}
		for _, not := range c.not {
			if strings.Contains(frames[0], not) {
				t.Errorf("%s: %s, want no %s in it", c.head, frames[0], not)
			}
		}
	}
	if rows := h.Join("shop", "r", "bob").Sync("items"); len(rows) != 0 {
		t.Errorf("something of it was applied: %v", rows)
	}
}

// tapped is a link that keeps what it is sent.
type tapped struct{ frames []string }

func (l *tapped) Send(frames ...*room.Frame) {
	for _, f := range frames {
		l.frames = append(l.frames, string(f.Payload()))
	}
}

func (l *tapped) Close(int, string) {}

func (l *tapped) take() []string {
	frames := l.frames
	l.frames = nil
	return frames
}

// Verify looks into all namespaces that have a directory, if none is named, and at what Den itself keeps in a room's file.
func TestVerifyNamespaces(t *testing.T) {
	dir := t.TempDir()
	h := roomtest.New(t, func(h *room.Host) error {
		for _, ns := range []string{"shop", "con"} {
			if err := h.Register(ns, func() room.Handler { return &shop{probe: new(probe)} }, room.Action("add", (*shop).Add)); err != nil {
				return err
			}
		}
		return nil
	}, func(o *room.Options) { o.Dir = dir })
	for _, ns := range []string{"shop", "con"} {
		c := h.Join(ns, "r", "alice")
		mustSucceed(t, c.Do("items", "add", object{"id": "1"}))
		mustSucceed(t, c.DoNumbered("client", 1, "items", "add", object{"id": "2"}))
		h.SleepRoom(ns, "r")
	}
	if err := h.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Not-One", "no_room"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(namespaces []string, rooms ...room.Key) (int, []string) {
		t.Helper()
		var found []string
		got, err := room.Verify(t.Context(), room.VerifyOptions{Dir: dir, Namespaces: namespaces, Rooms: rooms, Report: func(f room.Finding) {
			if f.Severity == storage.Problem {
				found = append(found, f.Namespace+" "+f.Check)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		return got.Rooms, found
	}
	for name, c := range map[string]struct {
		namespaces []string
		rooms      []room.Key
		want       int
	}{"all": {nil, nil, 2}, "one": {[]string{"con"}, nil, 1}, "none": {[]string{}, nil, 0}, "a room": {nil, []room.Key{{Namespace: "shop", Room: "r"}}, 1}} {
		if n, found := look(c.namespaces, c.rooms...); n != c.want || len(found) != 0 {
			t.Errorf("%s: %d rooms, %q", name, n, found)
		}
	}
	path, err := roomfile.Path(dir, "shop", "r")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		`UPDATE _den_replies SET replies = replies`:                        "",
		`UPDATE _den_replies SET replies = x''`:                            "shop tables",
		`UPDATE _den_replies SET replies = x'ff' || replies`:               "shop tables",
		`UPDATE _den_replies SET replies = replies || x'00'`:               "shop tables",
		`UPDATE _den_replies SET at = 'x'`:                                 "shop tables",
		`INSERT INTO _den_replies VALUES (-7, 1, 1, x'ffff')`:              "shop tables",
		`UPDATE _den_clients SET seen_at = 'x'`:                            "shop tables",
		`INSERT INTO _den_peers VALUES ('a', 'b', 'c', 1, 1, 1.5)`:         "shop tables",
		`INSERT INTO _den_peers VALUES ('a', 'b', 'c', 1, 1, 1)`:           "",
		`DROP TABLE _den_clients`:                                          "",
		`ALTER TABLE _den_clients RENAME COLUMN seen_at TO nobody_sees_it`: "shop tables",
	} {
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := asAnotherProgram(t, path, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		_, found := look([]string{"shop"})
		found = slices.DeleteFunc(found, func(f string) bool { return f == "shop history" }) // what no transaction has left
		if strings.Join(slices.Compact(found), "; ") != want {
			t.Errorf("%s: %q, want %q", sql, found, want)
		}
	}
}

// asAnotherProgram opens a room's file as the room, and runs what only Den's own packages may.
func asAnotherProgram(t *testing.T, path, sql string) error {
	t.Helper()
	db, err := storage.Open(storage.Options{Path: path, Namespace: "shop", Room: "r"})
	if err != nil {
		return err
	}
	_, err = db.Internal().Exec(sql)
	return errors.Join(err, db.Close())
}
