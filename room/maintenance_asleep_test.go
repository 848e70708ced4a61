package room_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/roomfile"
)

var kept = room.Key{Namespace: "keep", Room: "r"}

func registerKeeper(h *room.Host) error {
	return h.Register("keep", func() room.Handler { return new(keeper) },
		room.Call("say", (*keeper).Say), room.Call("unsay", (*keeper).Unsay), room.Call("stored", (*keeper).Stored))
}

// Unsay removes what Say has written. The replies to Say still have it.
func (k *keeper) Unsay(c *room.Context, id string) (bool, error) { return true, k.Notes.Delete(c, id) }

// sayAndDelete leaves a secret in the room's stored replies alone.
func sayAndDelete(t *testing.T, h *roomtest.Host) {
	t.Helper()
	alice := h.Join("keep", "r", "alice")
	mustSucceed(t, alice.Do("notes", "say", object{"ID": "1", "Text": secret}))
	mustSucceed(t, alice.Do("notes", "unsay", "1"))
}

// inFile reports whether the secret is in the room's file. Nothing is woken for it.
func inFile(t *testing.T, dir string) bool {
	t.Helper()
	path, err := roomfile.Path(dir, kept.Namespace, kept.Room)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(data, []byte(secret))
}

// What a stored reply says goes a day later from the file of a room that sleeps, which is not woken for it.
func TestStoredRepliesLoseTheirContentAsleep(t *testing.T) {
	for name, between := range map[string]func(h *roomtest.Host){
		"asleep": func(h *roomtest.Host) { h.SleepRoom("keep", "r") },
		"after a restart": func(h *roomtest.Host) {
			h.Reopen()
			h.Advance(10 * time.Minute)
			h.Reopen()
		},
		"used again within the day": func(h *roomtest.Host) {
			h.SleepRoom("keep", "r")
			h.Advance(23*time.Hour + 30*time.Minute)
			mustSucceed(t, h.Join("keep", "r", "bob").Do("notes", "say", object{"ID": "2", "Text": "hello"}))
			h.SleepRoom("keep", "r")
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := roomtest.New(t, registerKeeper, func(o *room.Options) { o.Dir = dir })
			mustSucceed(t, h.Join("keep", "another", "before").Do("notes", "say", object{"ID": "0", "Text": "hello"}))
			h.Advance(2 * time.Hour) // the index is there, and the namespace is known to it
			sayAndDelete(t, h)
			began := h.Clock.Now()
			between(h)
			if !inFile(t, dir) {
				t.Fatal("the file never had the reply: nothing is tested")
			}
			h.Advance(began.Add(23 * time.Hour).Sub(h.Clock.Now()))
			if name != "used again within the day" && !inFile(t, dir) {
				t.Error("within the day the reply is gone")
			}
			h.Advance(began.Add(25*time.Hour + 2*time.Minute).Sub(h.Clock.Now()))
			if inFile(t, dir) {
				t.Error("after a day the file has the reply")
			}
			if n := h.Awake(); n != 0 {
				t.Errorf("%d rooms were woken", n)
			}
		})
	}
}

// A room that is awake when its replies are a day old, and goes to sleep before its own maintenance, has it an hour later.
func TestStoredRepliesLoseTheirContentAwakeMeanwhile(t *testing.T) {
	dir := t.TempDir()
	h := roomtest.New(t, registerKeeper, func(o *room.Options) { o.Dir, o.IdleAfter = dir, 40*time.Hour })
	sayAndDelete(t, h)
	h.Advance(25*time.Hour + 2*time.Minute)
	if h.Awake() != 1 {
		t.Fatal("the room sleeps: nothing is tested")
	}
	h.SleepRoom("keep", "r")
	if !inFile(t, dir) {
		t.Fatal("the room has done its maintenance: nothing is tested")
	}
	h.Advance(time.Hour)
	if inFile(t, dir) {
		t.Error("the file has the reply")
	}
}

// A cellar is a host with keepers on a disk that may lose power.
type cellar struct{ *diskHost }

func newCellar(t *testing.T) *cellar {
	t.Helper()
	c := &cellar{newDiskHost(t, 1, registerKeeper)}
	c.start()
	return c
}

func (c *cellar) say(name, text string) {
	c.t.Helper()
	s, err := c.Connect(c.t.Context(), room.Key{Namespace: "keep", Room: name}, room.ConnectRequest{Link: new(noise)})
	if err == nil {
		err = s.Receive([]byte(`{"id":"a","channel":"notes","rpc":true,"action":{"type":"say","payload":{"ID":"1","Text":"`+text+`"}}}`), false)
	}
	if err == nil {
		err = inner.OfHost(c).Quiet(c.t.Context())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// replies ends the host, and counts the rows of stored replies that have a text.
func (c *cellar) replies(text string) (n int) {
	c.t.Helper()
	if err := c.Shutdown(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	path, err := roomfile.Path("/data", kept.Namespace, kept.Room)
	if err != nil {
		c.t.Fatal(err)
	}
	db, err := storage.Open(storage.Options{Path: path, Namespace: kept.Namespace, Room: kept.Room, FS: c.o.FS})
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Internal().Query(`SELECT count(*) FROM _den_replies WHERE n > 0 AND instr(replies, ?) > 0`, []byte(text))
	if err != nil || !rows.Next() {
		c.t.Fatal(err, rows.Err())
	}
	defer rows.Close()
	return int(rows.Int(0))
}

// A power cut loses the reminder of the last minute. The room is seen to after it, whether it is called for or not.
func TestStoredRepliesLoseTheirContentAfterPowerCut(t *testing.T) {
	for name, between := range map[string]func(c *cellar){
		"left alone": func(*cellar) {},
		"called for": func(c *cellar) {
			err := inner.OfHost(c).Settle(t.Context(), kept)
			if err == nil {
				err = c.Sleep(t.Context(), kept)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCellar(t)
			c.say("another", "hello")
			c.clock.Advance(2 * time.Hour) // the index is there, and the namespace is known to it
			c.say(kept.Room, secret)
			c.cut()
			between(c)
			c.clock.Advance(26 * time.Hour)
			if n := c.replies("said " + secret); n != 0 {
				t.Errorf("%d rows of replies have their content", n)
			}
		})
	}
}
