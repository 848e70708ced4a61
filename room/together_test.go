package room_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
)

// What operators ask for at the same time, of the same file or the same room: each gets what it asked for, or an
// error that says why not.

// together calls all functions at the same time, and gives their errors.
func together(all ...func() error) []error {
	errs := make([]error, len(all))
	var start, end sync.WaitGroup
	start.Add(1)
	for i, do := range all {
		end.Go(func() {
			start.Wait()
			errs[i] = do()
		})
	}
	start.Done()
	end.Wait()
	return errs
}

// twoShops makes two rooms whose rows tell whose they are.
func twoShops(t *testing.T) (h *roomtest.Host, a, b room.Key) {
	t.Helper()
	h, _ = open(t)
	for _, name := range []string{"a", "b"} {
		c := h.Join("shop", name, "alice")
		for i := range 30 {
			mustSucceed(t, c.Do("items", "add", object{"id": fmt.Sprint(name, i), "name": strings.Repeat(name, 300)}))
		}
	}
	return h, room.Key{Namespace: "shop", Room: "a"}, room.Key{Namespace: "shop", Room: "b"}
}

// mustHold checks that a backup is whole and a room's: what it holds is restored into a room of its own.
func mustHold(t *testing.T, h *roomtest.Host, path, name string) {
	t.Helper()
	key := room.Key{Namespace: "shop", Room: "copy"}
	if _, err := h.Restore(t.Context(), key, path); err != nil {
		t.Fatalf("the backup of %s: %v", name, err)
	}
	rows := h.Join("shop", "copy", "bob").Sync("items")
	for _, row := range rows {
		if id := fmt.Sprint(row.ID()); !strings.HasPrefix(id, name) {
			t.Fatalf("the backup of %s holds %s", name, id)
		}
	}
	if len(rows) != 30 {
		t.Fatalf("the backup of %s holds %d rows", name, len(rows))
	}
}

// noPart checks that nothing is left of copies that were given up.
func noPart(t *testing.T, dir string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(dir, "*.part*")); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// Of backups of two rooms into one file, at the same time, one at most succeeds, and the file is that room's. So is a
// state of the past, which is written in another way.
func TestBackupsIntoOneFile(t *testing.T) {
	h, a, b := twoShops(t)
	h.Advance(time.Second)
	dir, pairs := t.TempDir(), 60
	if testing.Short() {
		pairs = 20
	}
	for i := range pairs {
		path := filepath.Join(dir, fmt.Sprint(i, ".db"))
		copies := map[bool]func(room.Key) error{
			false: func(key room.Key) error { return h.Backup(t.Context(), key, path) },
			true:  func(key room.Key) error { return h.StateAt(t.Context(), key, room.Point{Seq: 30}, path) },
		}
		errs := together(
			func() error { return copies[i%3 == 1](a) },
			func() error { return copies[i%3 == 2](b) },
		)
		won := ""
		for j, name := range []string{"a", "b"} {
			switch {
			case errs[j] == nil && won != "":
				t.Fatalf("pair %d: both succeeded", i)
			case errs[j] == nil:
				won = name
			case !errors.Is(errs[j], fs.ErrExist) || !strings.Contains(errs[j].Error(), path):
				t.Fatalf("pair %d: %v", i, errs[j])
			}
		}
		if won == "" {
			t.Fatalf("pair %d: %v", i, errs)
		}
		mustHold(t, h, path, won)
	}
	noPart(t, dir)
}

// Restores of one room at the same time follow each other: the room holds one of the backups whole, and each file
// that was replaced is kept, under a name of its own, whatever the clock says.
func TestRestoresOfOneRoom(t *testing.T) {
	h, a, b := twoShops(t)
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")}
	if err := errors.Join(h.Backup(t.Context(), a, paths[0]), h.Backup(t.Context(), b, paths[1])); err != nil {
		t.Fatal(err)
	}
	key := room.Key{Namespace: "shop", Room: "both"}
	kept := make(chan string, 100)
	restore := func(path string) func() error {
		return func() error {
			old, err := h.Restore(t.Context(), key, path)
			if old != "" {
				kept <- old
			}
			return err
		}
	}
	const rounds = 5
	for range rounds { // in one millisecond, by the test's clock
		if err := errors.Join(together(restore(paths[0]), restore(paths[1]))...); err != nil {
			t.Fatal(err)
		}
		rows := h.Join("shop", "both", "bob").Sync("items")
		first := fmt.Sprint(rows[0].ID())[:1]
		for _, row := range rows {
			if len(rows) != 30 || fmt.Sprint(row.ID())[:1] != first {
				t.Fatalf("%d rows, of both", len(rows))
			}
		}
	}
	close(kept)
	names := make(map[string]bool)
	for name := range kept {
		if _, err := os.Stat(name); err != nil {
			t.Error(err)
		}
		names[name] = true
	}
	if len(names) != 2*rounds-1 {
		t.Errorf("%d files are kept: %v", len(names), names)
	}
}

// Of imports of one room, which must not be there, one at most succeeds, and none over a restore.
func TestImportsOfOneRoom(t *testing.T) {
	h, a, b := twoShops(t)
	backup := filepath.Join(t.TempDir(), "a.db")
	if err := h.Backup(t.Context(), a, backup); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := h.Export(t.Context(), b, &text, room.LinesFormat); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		key := room.Key{Namespace: "shop", Room: fmt.Sprint("new", i)}
		load := func() error { return h.Import(context.Background(), key, bytes.NewReader(text.Bytes())) }
		restored := ""
		restore := func() error {
			kept, err := h.Restore(context.Background(), key, backup)
			restored = kept
			return err
		}
		errs := together(load, load, restore)
		imported := 0
		for _, err := range errs[:2] {
			switch {
			case err == nil:
				imported++
			case !errors.Is(err, room.ErrRoomExists) && !errors.Is(err, fs.ErrExist):
				t.Fatal(err)
			}
		}
		if imported > 1 || errs[2] != nil || (imported == 1) != (restored != "") { // the import came first, and is kept
			t.Fatalf("%d imports, the restore has replaced %q: %v", imported, restored, errs)
		}
		rows := h.Join("shop", key.Room, "bob").Sync("items")
		if len(rows) != 30 || !strings.HasPrefix(fmt.Sprint(rows[0].ID()), "a") {
			t.Fatalf("%d rows, the first %v", len(rows), rows[0])
		}
	}
}

// Exports at the same time do not meet in a file.
func TestExportsTogether(t *testing.T) {
	h, a, b := twoShops(t)
	var texts [4]bytes.Buffer
	var all []func() error
	for i := range texts {
		all = append(all, func() error {
			return h.Export(context.Background(), []room.Key{a, b}[i%2], &texts[i], []room.Format{room.SQLFormat, room.LinesFormat}[i/2])
		})
	}
	if err := errors.Join(together(all...)...); err != nil {
		t.Fatal(err)
	}
	for i := range texts {
		own, other := []string{"a29", "b29"}[i%2], []string{"b29", "a29"}[i%2]
		if text := texts[i].String(); !strings.Contains(text, own) || strings.Contains(text, other) {
			t.Errorf("export %d: %.300s", i, text)
		}
	}
	path, err := inner.OfHost(h).ScratchFile()
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
