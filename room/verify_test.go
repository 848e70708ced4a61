package room_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/storage/roomfile"
)

// content is all that is on the disk.
func (u *logOnly) content() map[string]string {
	u.t.Helper()
	all := make(map[string]string)
	for _, name := range u.disk.Files() {
		b, err := u.disk.Read(name)
		if err != nil {
			u.t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

func (u *logOnly) verify(rooms ...room.Key) (room.Verified, []room.Finding, error) {
	u.t.Helper()
	var found []room.Finding
	before := u.content()
	counts, err := room.Verify(u.t.Context(), room.VerifyOptions{
		Dir: "/data", FS: u.o.FS, Namespaces: []string{"nests"}, Rooms: rooms, Report: func(f room.Finding) { found = append(found, f) },
	})
	if !maps.Equal(before, u.content()) {
		u.t.Error("the disk was changed")
	}
	return counts, found, err
}

// What a power cut has left is sound: rooms with a file, rooms that the log alone has, and the index of
// alarms; and it is all there when it was looked at.
func TestVerifyAfterAPowerCut(t *testing.T) {
	u := newLogOnly(t)
	u.wake("a", "b")
	if err := u.Sleep(t.Context(), nest("first")); err != nil {
		t.Fatal(err)
	}
	u.cutPower()
	counts, found, err := u.verify()
	if err != nil || counts.Problems != 0 || counts.Rooms != 3 || counts.Transactions < 4 {
		t.Errorf("%+v, %v, %v", counts, found, err)
	}
	if counts, found, err = u.verify(nest("b")); err != nil || counts.Problems != 0 || counts.Rooms != 1 {
		t.Errorf("one room: %+v, %v, %v", counts, found, err)
	}
	if _, _, err = u.verify(nest("nobody")); err == nil {
		t.Error("a room that is not there was found to be sound")
	}
	path, err := roomfile.Path("/data", "nests", "first")
	if err != nil {
		t.Fatal(err)
	}
	if err := u.disk.Corrupt(path, 5*4096+4090, []byte{1}); err != nil {
		t.Fatal(err)
	}
	if counts, found, err = u.verify(); err != nil || counts.Problems == 0 || found[len(found)-1].Room != "first" || !slices.ContainsFunc(found, func(f room.Finding) bool { return f.Check == "checksums" }) {
		t.Errorf("with a bit flipped: %+v, %v, %v", counts, found, err)
	}
	if err := u.disk.Corrupt(path, 5*4096+4090, []byte{1}); err != nil {
		t.Fatal(err)
	}
	u.start()
	u.clock.Advance(0)
	if got := u.rooms(); len(got) != 3 {
		t.Errorf("the rooms are %v", got)
	}
}
