package pool

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/denrooms/den/storage/dbfile"
	"github.com/denrooms/den/storage/sqlite"
	"github.com/denrooms/den/storage/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A mark is what a test keeps with a connection: its number, and where it is noted when the connection is closed.
type mark struct {
	number int
	closed *[]int
}

func (m mark) Close() { *m.closed = append(*m.closed, m.number) }

// A maker makes connections, and knows which have been closed.
type maker struct {
	t      *testing.T
	made   int
	closed []int
}

// conn makes a connection to an empty database in memory.
func (m *maker) conn() *Conn[mark] {
	m.t.Helper()
	c, files, err := dbfile.OpenMemory(vfs.Host().SQLite(), dbfile.NewMemory(nil), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.made++
	return &Conn[mark]{Conn: c, Files: files, FS: vfs.Host(), State: mark{m.made, &m.closed}}
}

func (m *maker) want(when string, closed ...int) {
	m.t.Helper()
	if !slices.Equal(m.closed, closed) {
		m.t.Errorf("%s the connections %v are closed, want %v", when, m.closed, closed)
	}
}

// A connection goes to who asks with the same key, the one that was put last first.
func TestGet(t *testing.T) {
	m := &maker{t: t}
	var p Pool[string, mark]
	for _, key := range []string{"a", "b", "a"} {
		p.Put(key, m.conn(), WAL{})
	}
	for _, want := range []struct {
		key    string
		number int
	}{{"a", 3}, {"c", 0}, {"a", 1}, {"a", 0}, {"b", 2}} {
		got := 0
		if c := p.Get(want.key); c != nil {
			if got = c.State.number; c.Files.Main() != nil {
				t.Errorf("connection %d has a database", got)
			}
			defer c.drop()
		}
		if got != want.number {
			t.Errorf("%s: connection %d, want %d", want.key, got, want.number)
		}
	}
	p.Close()
	m.want("at the end")
}

// A pool keeps so many connections, and those that nobody wants go, but for two.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &maker{t: t}
		var p Pool[string, mark]
		for range Max + 3 {
			p.Put("", m.conn(), WAL{})
		}
		m.want("at most", 1, 2, 3)
		time.Sleep(IdleTime - 1)
		m.want("before the time", 1, 2, 3)
		last := p.Get("")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		m.want("after one time", 1, 2, 3)
		p.Put("", last, WAL{})
		time.Sleep(IdleTime)
		synctest.Wait()
		if p.Len() != Idle {
			t.Errorf("%d connections wait when nobody has wanted them, want %d", p.Len(), Idle)
		}
		if got := p.Get(""); got != last {
			t.Error("the connection that was used last is gone")
		} else {
			got.drop()
		}
		time.Sleep(10 * IdleTime)
		if p.Len() != Idle-1 {
			t.Errorf("%d connections wait at last, want %d", p.Len(), Idle-1)
		}
		p.Close()
	})
}

// A connection that is put after the end is closed.
func TestPutAfterClose(t *testing.T) {
	m := &maker{t: t}
	var p Pool[string, mark]
	p.Put("", m.conn(), WAL{})
	p.Close()
	m.want("at the end", 1)
	p.Put("", m.conn(), WAL{})
	m.want("after the end", 1, 2)
	if p.Get("") != nil || p.Len() != 0 {
		t.Error("a connection waits after the end")
	}
}

// Warm prepares two connections, one call at a time, and Close waits for it.
func TestWarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &maker{t: t}
		var p Pool[string, mark]
		calls, next := 0, make(chan bool)
		warm := func() {
			p.Warm("a", func() func() *Conn[mark] {
				calls++
				return func() *Conn[mark] {
					if !<-next {
						return nil
					}
					return m.conn()
				}
			})
			synctest.Wait()
		}
		if warm(); calls != 0 {
			t.Error("work without a Background")
		}
		p.Background = func(f func()) { go f() }
		warm()
		if warm(); calls != 1 {
			t.Errorf("%d calls at once", calls)
		}
		next <- true
		next <- true
		p.Wait()
		if p.Len() != Idle {
			t.Errorf("%d connections wait, want %d", p.Len(), Idle)
		}
		if warm(); calls != 1 {
			t.Error("connections are prepared although enough wait")
		}
		p.Get("a").drop()
		warm()
		next <- false
		if p.Wait(); calls != 2 || p.Len() != Idle-1 {
			t.Errorf("%d calls, %d connections wait", calls, p.Len())
		}
		warm()
		closed := false
		go func() {
			p.Close()
			closed = true
		}()
		if synctest.Wait(); closed {
			t.Error("Close has returned while a connection is prepared")
		}
		next <- true
		if synctest.Wait(); !closed || p.Len() != 0 || len(m.closed) != m.made {
			t.Errorf("closed %v, %d connections wait, %d of %d are closed", closed, p.Len(), len(m.closed), m.made)
		}
	})
}

// The WAL file of a connection goes along, without its header, and back to where a WAL is wanted.
func TestWAL(t *testing.T) {
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "wals")
	if err := ClearWALs(vfs.Host(), kept); err != nil {
		t.Fatal(err)
	}
	names := func() int {
		t.Helper()
		names, err := vfs.Host().Names(kept)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	first, second := filepath.Join(dir, "first-wal"), filepath.Join(dir, "second-wal")
	for _, size := range []int{100, maxWAL + 1} {
		m := &maker{t: t}
		p := Pool[string, mark]{Options: Options{WALs: kept}}
		c := m.conn()
		file, err := c.OpenWAL(first)
		if err != nil {
			t.Fatal(err)
		}
		content := slices.Repeat([]byte{1}, size)
		if _, err := file.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		synced := 0
		p.Put("", c, WAL{file, first, func() error { synced++; return nil }})
		if _, err := os.Stat(first); err == nil {
			t.Error("the WAL has its name still")
		}
		if size > maxWAL {
			if names() != 0 {
				t.Error("a large WAL is kept")
			}
			p.Close()
			continue
		}
		if names() != 1 || synced != 1 {
			t.Errorf("%d WALs are kept, and the directory was synced %d times", names(), synced)
		}
		c = p.Get("")
		if file, err = c.OpenWAL(second); err != nil {
			t.Fatal(err)
		}
		clear(content[:walHeader])
		if got, err := os.ReadFile(second); err != nil || !slices.Equal(got, content) || names() != 0 {
			t.Errorf("%d bytes at the second place, %v; %d are kept", len(got), err, names())
		}
		p.Put("", c, WAL{file, second, func() error { return sqlite.ErrorOf(sqlite.ResultIOErrWrite) }})
		if _, err := os.Stat(second); err == nil || names() != 0 {
			t.Error("a WAL is kept although the directory could not be synced")
		}
		if file, err = c.OpenWAL(first); err != nil {
			t.Fatal(err)
		}
		p.Get("")
		p.Put("", c, WAL{file, first, func() error { return nil }})
		if p.Close(); names() != 0 {
			t.Error("a WAL stays after the end")
		}
	}
}
