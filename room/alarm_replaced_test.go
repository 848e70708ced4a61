package room_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/faultdisk"
)

// An index of alarms that the disk failed under, and whose file turns out to be damaged while the host runs, is replaced. Alarms are
// set again at once, and those from before ring.
func TestDamagedIndexIsReplacedAtOnce(t *testing.T) {
	p := newPowerless(t, 1, room.Durable)
	if !p.set("before", in("a", time.Minute)) {
		t.Fatal("not set")
	}
	p.disk.Fail(faultdisk.Fault{Op: faultdisk.OpWrite, Suffix: "index.db-wal", Times: -1})
	failed := false
	for i := 0; i < 50 && !failed; i++ {
		failed = !p.set(fmt.Sprint("r", i), in("b", time.Hour))
	}
	if !failed {
		t.Fatal("the fault was never met")
	}
	p.disk.Heal()
	index := filepath.Join(p.o.Dir, "_alarms", "index.db")
	f, err := p.o.FS.Open(index, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = f.WriteAt([]byte(strings.Repeat("\xff", 4096*3)), 100); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if !p.set("after", in("c", time.Minute)) {
		t.Error("no alarm can be set")
	}
	names, err := p.o.FS.Names(filepath.Dir(index))
	if err != nil || !strings.Contains(strings.Join(names, " "), "index.db.refused-") {
		t.Errorf("the damaged index was not kept: %q, %v", names, err)
	}
	p.clock.Advance(2 * time.Minute)
	inner.OfHost(p).SettleAlarms(t.Context())
	for name, want := range map[string]string{"before": "a:1 b:0 c:0", "after": "a:0 b:0 c:1"} {
		if got := p.count(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
