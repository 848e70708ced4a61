package storage

import (
	"testing"
	"time"

	"github.com/denrooms/den/storage/roomfile"
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
	if err := archived.write(d, "/backup.db"); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	o := r.options("room")
	other := o.Path[:len(o.Path)-3] + "2.db" + roomfile.ReplacedInfix + "20200101T000000.000Z" // of another room
	if err := roomfile.Make(r.fs, other); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for range 10 + 3 {
		r.now = r.now.Add(time.Minute)
		p, err := archived.restore(o, "/backup.db")
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
		if there, err := roomfile.Exists(r.fs, path); err != nil || there != (i >= 3) {
			t.Errorf("the file of restore %d is there: %t (%v)", i+1, there, err)
		}
	}
	if there, err := roomfile.Exists(r.fs, other); err != nil || !there {
		t.Errorf("another room's file was removed (%v)", err)
	}
	p, err := archived.restore(o, kept[3]) // the way back
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
