package room

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/room/internal/alarms"
)

// A room that does not end, because its disk does not answer, say, keeps no other room awake.
func TestInvariantIsolationRoomThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(map[Key]int)
		a := &awake{clock: SystemClock(), after: time.Second, most: 10, waits: true, contain: func(_ string, f func()) { f() }}
		a.retire = func(key Key, _ uint64) (<-chan struct{}, bool) {
			asked[key]++
			ended := make(chan struct{})
			if key.Room != "hangs" {
				close(ended)
			}
			return ended, true
		}
		for _, name := range []string{"hangs", "other"} {
			l := &life{key: Key{Room: name}, rank: -1}
			l.alarm.Store(alarms.Never)
			if err := a.enter(l); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Second)
		a.close()
		time.Sleep(retireWait) // the last sweep ends
		if asked[Key{Room: "hangs"}] < 2 || asked[Key{Room: "other"}] < 2 {
			t.Errorf("in 30 s rooms were asked to sleep %v times", asked)
		}
	})
}
