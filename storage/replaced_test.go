package storage

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Of a room that is restored again and again the newest ten replaced files stay, each of the operator's way back.
func TestReplacedFilesAreBounded(t *testing.T) {
	r := newRig(t, 1)
	defer r.close()
	r.mustStart()
	d := r.mustOpen("room")
	if err := put(d, 1, "x"); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteBackup("/backup.db"); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	o := r.options("room")
	other := o.Path[:len(o.Path)-3] + "2.db" + replacedInfix + "20200101T000000.000Z" // of another room
	if err := makeFile(r.fs, other); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for range keptReplaced + 3 {
		r.now = r.now.Add(time.Minute)
		p, err := PrepareRestore(o, "/backup.db")
		if err != nil {
			t.Fatal(err)
		}
		path, err := p.Install()
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, path)
	}
	for i, path := range kept {
		if there, err := exists(r.fs, path); err != nil || there != (i >= 3) {
			t.Errorf("the file of restore %d is there: %t (%v)", i+1, there, err)
		}
	}
	if there, err := exists(r.fs, other); err != nil || !there {
		t.Errorf("another room's file was removed (%v)", err)
	}
	p, err := PrepareRestore(o, kept[3]) // the way back
	if err == nil {
		_, err = p.Install()
	}
	if err != nil {
		t.Error(err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestSweepReplaced(t *testing.T) {
	r := newRig(t, 1)
	defer r.close()
	o := r.options("room")
	dir := filepath.Dir(o.Path)
	if _, err := r.fs.MakeDirs(dir); err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(clock).UTC()
	old, young := o.Path+replacedInfix+at.Add(-time.Hour).Format(keptForm), o.Path+replacedInfix+at.Format(keptForm)
	for _, name := range []string{o.Path, old, old + "-wal", old + "-2", old + asideSuffix, young, young + "-wal", o.Path + replacedInfix + "mine"} {
		if err := makeFile(r.fs, name); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := SweepReplaced(r.fs, "/data", "n", at)
	if err != nil || removed != 4 {
		t.Errorf("%d removed (%v)", removed, err)
	}
	names, err := r.fs.Names(dir)
	if left := strings.Join(names, " "); err != nil || len(names) != 4 || strings.Contains(left, filepath.Base(old)) {
		t.Errorf("%s (%v)", left, err)
	}
}
