package commitlog

// What an operator reads in the log: each thing once, and no errors that are none.

import (
	"strings"
	"testing"

	"github.com/denrooms/den/storage/commitlog/segment"
	"github.com/denrooms/den/storage/faultdisk"
)

// Rooms to recover are looked for again and again. That they cannot be listed is said once.
func TestToldOnceThatRoomsCannotBeListed(t *testing.T) {
	d, o, _ := crashedRooms(t)
	mustClose(t, mustOpen(t, o))
	if err := d.Remove("log/" + segment.Name(1)); err != nil {
		t.Fatal(err)
	}
	logger, said := told()
	o.Logger = logger
	l := mustOpen(t, o)
	defer mustClose(t, l)
	for range 5 {
		l.Unrecovered(func(string, string) bool { return true })
	}
	if n := strings.Count(said.String(), "cannot be listed"); n != 1 {
		t.Errorf("said %d times:\n%s", n, said)
	}
}

// A CURRENT that was removed is made again, and the reason is named.
func TestToldWhyCurrentIsMadeAgain(t *testing.T) {
	d := faultdisk.New(1)
	o := testOptions(d, newClock())
	mustClose(t, mustOpen(t, o))
	if err := d.Remove("log/" + currentName); err != nil {
		t.Fatal(err)
	}
	logger, said := told()
	o.Logger = logger
	mustClose(t, mustOpen(t, o))
	if text := said.String(); !strings.Contains(text, "made again from the segments") || strings.Contains(text, "<nil>") || !strings.Contains(text, errNoCurrent.Error()) {
		t.Errorf("it says:\n%s", text)
	}
}
