package room_test

// Hosts whose files are on a disk in memory, which can lose power, fill up and fail.

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/faultdisk"
)

// newDisk returns a disk in memory and its files. A test may have several.
func newDisk(t *testing.T, seed uint64) (*faultdisk.Disk, storage.FS) {
	t.Helper()
	disk := faultdisk.New(seed, faultdisk.PowersafeOverwrite)
	name := fmt.Sprintf("%s %p", t.Name(), disk)
	unregister, err := disk.Register(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the host has closed its files, because cleanups run backwards
		if err := unregister(); err != nil {
			t.Error(err)
		}
	})
	return disk, disk.FS(name)
}

// onDisk returns a disk in memory, and the option that puts the files of a test kit's host on it.
func onDisk(t *testing.T, seed uint64) (*faultdisk.Disk, roomtest.Option) {
	t.Helper()
	disk, fs := newDisk(t, seed)
	return disk, func(o *room.Options) { o.FS, o.Dir = fs, "/data" }
}

// A diskHost is a host on a disk that may lose power. A test may change its options before it starts it again.
type diskHost struct {
	*room.Host
	t        *testing.T
	disk     *faultdisk.Disk
	clock    *roomtest.Clock
	o        room.Options
	register func(*room.Host) error // called in each start
}

// newDiskHost returns a host that is not started.
func newDiskHost(t *testing.T, seed uint64, register func(*room.Host) error) *diskHost {
	t.Helper()
	d := &diskHost{t: t, clock: roomtest.NewClock(), register: register}
	var fs storage.FS
	d.disk, fs = newDisk(t, seed)
	d.o = room.Options{Dir: "/data", FS: fs, Clock: d.clock, Seed: 1, Logger: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		d.disk.Heal()
		d.stop()
	})
	return d
}

func (d *diskHost) start() {
	d.t.Helper()
	host, err := room.Open(d.o)
	if err == nil {
		d.Host = host
		err = d.register(host)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// stop shuts the host down. On a disk that has lost power that may fail.
func (d *diskHost) stop() {
	d.t.Helper()
	if d.Host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := d.Shutdown(ctx); err != nil && d.disk.Stats().Crashes == 0 {
		d.t.Error(err)
	}
}

// cutPower takes the power, ends the host and gives the power back.
func (d *diskHost) cutPower() {
	d.t.Helper()
	d.disk.Crash()
	d.stop()
	if err := d.disk.Restart(); err != nil {
		d.t.Fatal(err)
	}
}

// cut is a power cut, and the start after it.
func (d *diskHost) cut() {
	d.t.Helper()
	d.cutPower()
	d.start()
}
