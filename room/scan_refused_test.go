package room_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/denrooms/den/room"
	"github.com/denrooms/den/room/roomtest"
	"github.com/denrooms/den/storage/roomfile"
)

// RebuildAlarms goes through all rooms although some cannot be read, and names the first 1000 of those. So an operator whose
// disk has lost much gets an error of a bounded length, and the alarms of all other rooms.
func TestRebuildAlarmsOverRefusedFiles(t *testing.T) {
	for _, refused := range []int{0, 1, 1001} {
		t.Run(fmt.Sprint(refused), func(t *testing.T) {
			dir := t.TempDir()
			s := new(alarmScript)
			h := roomtest.New(t, s.register, func(o *room.Options) { o.Dir = dir })
			for _, name := range []string{"after", "before"} {
				mustSucceed(t, h.Join("clocks", name, "").Do("rings", "set", []setAlarm{in("a", 3600e9)}))
				h.SleepRoom("clocks", name)
			}
			for i := range refused {
				path, err := roomfile.Path(dir, "clocks", fmt.Sprintf("broken-%d", i))
				if err == nil {
					err = os.MkdirAll(filepath.Dir(path), 0o700)
				}
				if err == nil {
					err = os.WriteFile(path, []byte("this is no database"), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			rooms, alarmed, err := h.RebuildAlarms(t.Context(), "clocks")
			named := 0
			if err != nil {
				named = strings.Count(err.Error(), "clocks/broken-")
			}
			if want := min(refused, 1000); rooms != refused+2 || alarmed != 2 || named != want {
				t.Errorf("%d rooms, %d with alarms, and %d are named as refused; want %d, 2 and %d (%.300v)", rooms, alarmed, named, refused+2, want, err)
			}
		})
	}
}
