package room

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/vfs"
)

// A hook can return just after the watch has found that it hangs, and before the life is given up. Its turn must not commit then: the
// life that is given up tells nobody of the commit, so the next life would run an OnClose again that is in the file.

// A setClock is the machine's clock, set forward.
type setClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *setClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

func (c *setClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// A syncHook is the machine's disk, which calls before in front of a sync.
type syncHook struct {
	storage.FS
	mu     sync.Mutex
	before func() // called once
}

func (d *syncHook) set(before func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = before
}

func (d *syncHook) Open(path string, flag int) (vfs.File, error) {
	f, err := d.FS.Open(path, flag)
	if err != nil {
		return nil, err
	}
	return hookedFile{f, d}, nil
}

type hookedFile struct {
	vfs.File
	disk *syncHook
}

func (f hookedFile) Sync() error {
	f.disk.mu.Lock()
	before := f.disk.before
	f.disk.before = nil
	f.disk.mu.Unlock()
	if before != nil {
		before()
	}
	return f.File.Sync()
}

// A doorman writes down who comes and goes.
type doorman struct {
	Base
	log *doorLog
}

type doorLog struct {
	clock *setClock
	disk  *syncHook

	mu    sync.Mutex
	told  []string // of whom OnClose was told
	hangs string   // the hook of which the watch finds that it hangs, once
	found bool     // and it has
}

func (d *doorman) OnStart(c *Context) error {
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS passed (what TEXT)`)
	return err
}

func (d *doorman) OnConnect(c *Context) error { return d.pass(c, "came") }

func (d *doorman) OnClose(c *Context, _ int, _ string) error {
	d.log.mu.Lock()
	d.log.told = append(d.log.told, c.Conn().ID())
	d.log.mu.Unlock()
	return d.pass(c, "left")
}

// OnRequest tells who came and went.
func (d *doorman) OnRequest(c *Context, w http.ResponseWriter, _ *http.Request) error {
	var all string
	if err := c.QueryRow(`SELECT ifnull(group_concat(what), '') FROM passed`, nil, &all); err != nil {
		return err
	}
	_, err := io.WriteString(w, all)
	return err
}

func (d *doorman) pass(c *Context, what string) error {
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	if _, err := c.Exec(`INSERT INTO passed VALUES (?)`, what); err != nil {
		return err
	}
	if d.log.hangs != what {
		return nil
	}
	d.log.hangs = ""
	r := c.room
	for range 2 { // once its time is over, and once it has not ended
		d.log.clock.advance(r.watch.limit)
		d.log.found = r.watch.hangs()
	}
	d.log.disk.set(func() { abandon(r) })
	return nil
}

// abandon gives a life up, as the watch does after hangs, while a commit is under way.
func abandon(r *room) {
	go r.node.actors.Abandon(r.key, r.number) // ends when the commit has
	for !r.isFenced() {
		runtime.Gosched()
	}
}

// A hook that returns as it is given up has changed nothing, and OnClose is told of each client once.
func TestHookReturnsAsItIsGivenUp(t *testing.T) {
	for _, c := range []struct{ hangs, told, passed string }{
		{"came", "[]", ""}, // she was refused
		{"left", "[ann]", "came"},
		{"", "[ann]", "came,left"},
	} {
		t.Run(c.hangs, func(t *testing.T) {
			disk, clock := &syncHook{FS: storage.HostFS()}, new(setClock)
			seen := &doorLog{clock: clock, disk: disk, hangs: c.hangs}
			h, err := Open(Options{Dir: t.TempDir(), FS: disk, Seed: 1, Logger: slog.New(slog.DiscardHandler), Clock: clock, ActionTimeout: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Shutdown(t.Context())
			if err := h.Register("doors", func() Handler { return &doorman{log: seen} }); err != nil {
				t.Fatal(err)
			}
			key := Key{Namespace: "doors", Room: "r"}
			ann, err := h.Connect(t.Context(), key, ConnectRequest{ID: "ann", Link: new(line)})
			if (err != nil) != (c.hangs == "came") {
				t.Fatal(err)
			}
			if ann != nil {
				ann.Close(1000, "")
			}
			if err := inner.OfHost(h).Quiet(t.Context()); err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			if err := h.ServeRequest(t.Context(), key, Identity{}, w, httptest.NewRequest("GET", "/", nil)); err != nil {
				t.Fatal(err)
			}
			if seen.found != (c.hangs != "") {
				t.Errorf("the watch has found a hook that hangs: %t", seen.found)
			}
			if told := fmt.Sprint(seen.told); told != c.told || w.Body.String() != c.passed {
				t.Errorf("OnClose was told of %s, and the file has %q; want %s and %q", told, w.Body, c.told, c.passed)
			}
		})
	}
}
