package room_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// A ruin is a room that makes a table when it begins, as plain SQL does, and answers only who asks for something.
type ruin struct {
	room.Base
	Stones room.Table[stone]
}

type stone struct {
	ID string
	room.Stamps
}

func (*ruin) OnStart(c *room.Context) error {
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS walls (id TEXT PRIMARY KEY, made_at INTEGER);
		INSERT OR IGNORE INTO walls VALUES ('first', ` + fmt.Sprint(c.Now().UnixMilli()) + `)`)
	return err
}

func (r *ruin) OnRequest(c *room.Context, w http.ResponseWriter, q *http.Request) error {
	if q.URL.Path == "/made" { // an answer that shows nothing, in the test's eyes: it has an error's status
		rows, err := c.Query(`SELECT made_at FROM walls`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			w.Header().Set("Made", fmt.Sprint(rows.Int(0)))
		}
		w.WriteHeader(http.StatusTeapot)
		return rows.Err()
	}
	if q.URL.Path != "/found" {
		return fmt.Errorf("%w: nothing here", room.ErrNotFound)
	}
	_, err := w.Write([]byte("a wall"))
	return err
}

func (r *ruin) add(c *room.Context, in stone) error { return r.Stones.Insert(c, in) }

// A desert is a host with ruins on a disk that may lose power.
type desert struct{ *diskHost }

func newDesert(t *testing.T) *desert {
	t.Helper()
	p := &desert{newDiskHost(t, 1, func(h *room.Host) error {
		return h.Register("ruins", func() room.Handler { return new(ruin) }, room.Action("add", (*ruin).add))
	})}
	p.start()
	return p
}

func key(name string) room.Key { return room.Key{Namespace: "ruins", Room: name} }

func (p *desert) get(name, path string) int {
	p.t.Helper()
	w := httptest.NewRecorder()
	err := p.ServeRequest(p.t.Context(), key(name), room.Identity{}, w, httptest.NewRequest("GET", path, nil))
	if refused, is := errors.AsType[*room.Error](err); is {
		return map[bool]int{true: 404, false: 500}[refused.Code == "not_found"]
	}
	return w.Code
}

// connect brings a client in that asks for nothing.
func (p *desert) connect(name string) (*room.Session, *noise) {
	p.t.Helper()
	heard := new(noise)
	s, err := p.Connect(p.t.Context(), key(name), room.ConnectRequest{Link: heard})
	if err != nil {
		p.t.Fatal(err)
	}
	return s, heard
}

// A noise is a link that counts what comes.
type noise struct {
	room.Link
	frames atomic.Int32
}

func (n *noise) Send(frames ...*room.Frame) { n.frames.Add(int32(len(frames))) }
func (*noise) Close(int, string)            {}

func (p *desert) sleep(name string) {
	p.t.Helper()
	if err := p.Sleep(p.t.Context(), key(name)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *desert) settle(name string) {
	p.t.Helper()
	if err := inner.OfHost(p).Settle(p.t.Context(), key(name)); err != nil {
		p.t.Fatal(err)
	}
}

// size is how much the data directory has, without the names of directories.
func (p *desert) size() (files int, bytes int64) {
	p.t.Helper()
	for _, name := range p.disk.Files() {
		n, err := p.o.FS.Size(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if filepath.Ext(name) == ".db" {
			files++
		}
		bytes += n
	}
	return files, bytes
}

// TestUnseenRoomsLeaveNothing has a scanner call a thousand names: by plain requests that find nothing, and by connections
// that ask for nothing. Nothing in the data directory grows.
func TestUnseenRoomsLeaveNothing(t *testing.T) {
	p := newDesert(t)
	_, before := p.size()
	for i := range 1000 {
		name := fmt.Sprint("name", i)
		if i%2 == 0 {
			if code := p.get(name, "/"); code != 404 {
				t.Fatalf("%s answers %d", name, code)
			}
		} else {
			s, heard := p.connect(name)
			s.Close(1001, "")
			p.settle(name)
			if n := heard.frames.Load(); n != 0 {
				t.Fatalf("%s sent %d frames", name, n)
			}
		}
		p.sleep(name)
	}
	if files, bytes := p.size(); files != 0 || bytes > before {
		t.Errorf("%d files of rooms are there, and %d bytes, before there were %d", files, bytes, before)
	}
}

// TestInvariantGateUnseenRooms shows something of a room in each way, and cuts the power before it sleeps: the room is there, and is
// the same.
func TestInvariantGateUnseenRooms(t *testing.T) {
	say := func(message string) func(p *desert) {
		return func(p *desert) {
			s, heard := p.connect("r")
			if err := s.Receive([]byte(message), false); err != nil {
				p.t.Fatal(err)
			}
			if p.settle("r"); heard.frames.Load() == 0 {
				p.t.Fatal("nothing came")
			}
		}
	}
	for how, show := range map[string]func(p *desert){
		"a request":   func(p *desert) { p.get("r", "/found") },
		"a cursor":    say(`{"channel":"stones","sync":true,"cursor":null}`),
		"everything":  say(`{"channel":"stones","sync":true,"from":null}`),
		"an action":   say(`{"id":"a","channel":"stones","rpc":true,"action":{"type":"add","payload":{"ID":"1"}}}`),
		"a refusal":   say(`{"id":"a","channel":"stones","rpc":true,"action":{"type":"none","payload":{}}}`),
		"not unasked": nil,
	} {
		t.Run(how, func(t *testing.T) {
			p := newDesert(t)
			p.get("r", "/")
			made := p.made()
			if show != nil {
				p.clock.Advance(time.Second)
				show(p)
			}
			p.cut()
			p.clock.Advance(time.Second)
			p.get("r", "/")
			if same := p.made() == made; same != (show != nil) {
				t.Errorf("the room is the same: %v", same)
			}
		})
	}
}

// made is when the room that is awake was made, as its OnStart has noted.
func (p *desert) made() string {
	p.t.Helper()
	w := httptest.NewRecorder()
	err := p.ServeRequest(p.t.Context(), key("r"), room.Identity{}, w, httptest.NewRequest("GET", "/made", nil))
	if err != nil {
		p.t.Fatal(err)
	}
	return w.Header().Get("Made")
}
