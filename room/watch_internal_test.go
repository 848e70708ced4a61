package room

import (
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

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

// A doorman writes down who goes.
type doorman struct {
	Base
	log *doorLog
}

type doorLog struct {
	clock *setClock
	disk  *syncHook

	mu    sync.Mutex
	gone  []string
	hangs bool // the watch finds that the next OnClose hangs
	found bool // and it has
}

func (d *doorman) OnStart(c *Context) error {
	_, err := c.Exec(`CREATE TABLE IF NOT EXISTS gone (id TEXT)`)
	return err
}

func (d *doorman) OnConnect(c *Context) error {
	_, err := c.Exec(`INSERT INTO gone VALUES ('nobody')`) // so that its note is written
	return err
}

func (d *doorman) OnClose(c *Context, _ int, _ string) error {
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	d.log.gone = append(d.log.gone, c.Conn().ID())
	if _, err := c.Exec(`INSERT INTO gone VALUES (?)`, c.Conn().ID()); err != nil {
		return err
	}
	if !d.log.hangs {
		return nil
	}
	d.log.hangs = false
	l := c.life
	for range 2 { // once its time is over, and once it has not ended
		d.log.clock.advance(l.watch.limit)
		d.log.found = l.watch.hangs()
	}
	d.log.disk.set(func() { abandon(l) })
	return nil
}

// abandon gives a life up, as the watch does after hangs, while a commit is under way.
func abandon(l *life) {
	go l.host.actors.Abandon(l.key, l.number) // ends when the commit has
	for !l.isFenced() {
		runtime.Gosched()
	}
}

// An OnClose that returns as it is given up is not run again.
func TestCloseReturnsAsItIsGivenUp(t *testing.T) {
	disk, clock := &syncHook{FS: storage.HostFS()}, new(setClock)
	seen := &doorLog{clock: clock, disk: disk}
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
	if err != nil {
		t.Fatal(err)
	}
	seen.hangs = true
	ann.Close(1000, "")
	if err := h.Quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the next life has heard of her
		if err := h.Settle(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if !seen.found {
		t.Error("the watch has not found that OnClose hangs")
	}
	if !slices.Equal(seen.gone, []string{"ann"}) {
		t.Errorf("OnClose was told of %q", seen.gone)
	}
}
