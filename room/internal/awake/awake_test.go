package awake

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/actor"
)

// A room that does not end, because its disk does not answer, say, keeps no other room awake.
func TestInvariantIsolationRoomThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(map[actor.Key]int)
		var a Set
		retire := func(key actor.Key, _ uint64) (<-chan struct{}, bool) {
			asked[key]++
			ended := make(chan struct{})
			if key.Room != "hangs" {
				close(ended)
			}
			return ended, true
		}
		a.Init(Options{
			Now: time.Now, AfterFunc: func(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) },
			After: time.Second, Most: 10, Waits: true, Contain: func(f func()) { f() }, Retire: retire,
		})
		for _, name := range []string{"hangs", "other"} {
			m := new(Member)
			m.Init(actor.Key{Room: name}, 1, func(time.Time) bool { return true })
			if err := a.Enter(m); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Second)
		a.Close()
		time.Sleep(retireWait) // the last sweep ends
		if asked[actor.Key{Room: "hangs"}] < 2 || asked[actor.Key{Room: "other"}] < 2 {
			t.Errorf("in 30 s rooms were asked to sleep %v times", asked)
		}
	})
}
