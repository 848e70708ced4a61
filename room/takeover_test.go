package room_test

import (
	"testing"
)

// Two tabs send as one client: the younger takes the queue over, and the older is told to stop, also when
// the room has slept, until the younger is gone.
func TestInvariantExactlyOnceTwoTabs(t *testing.T) {
	for name, sleeps := range map[string]bool{"awake": false, "asleep between": true} {
		t.Run(name, func(t *testing.T) {
			h, _ := open(t)
			between := func() {
				if sleeps {
					h.SleepRoom("shop", "r")
				}
			}
			older := h.Join("shop", "r", "tab1")
			first := mustSucceed(t, older.DoNumbered("c", 1, "items", "add", object{"id": "1"}))
			younger := h.Join("shop", "r", "tab2")
			between()
			mustSucceed(t, older.DoNumbered("c", 2, "items", "add", object{"id": "2"})) // the younger has not sent yet
			mustSucceed(t, younger.DoNumbered("c", 3, "items", "add", object{"id": "3"}))
			between()
			mustRefuse(t, older.DoNumbered("c", 4, "items", "add", object{"id": "old"}), "client_taken")
			mustRefuse(t, older.DoNumbered("c", 9, "items", "add", object{"id": "old"}), "client_taken")
			if e := older.DoNumbered("c", 1, "items", "add", object{"id": "1"}); string(e.Data) != string(first.Data) {
				t.Errorf("what was answered is answered as %s", e.Data)
			}
			mustSucceed(t, older.DoNumbered("other", 1, "items", "add", object{"id": "other"})) // another client of the same tab
			between()
			mustSucceed(t, younger.DoNumbered("c", 4, "items", "add", object{"id": "4"})) // the number was not used up
			younger.Leave()
			between()
			mustSucceed(t, older.DoNumbered("c", 5, "items", "add", object{"id": "5"}))
			if got := ids(older.Sync("items")); got != "1 2 3 4 5 other" {
				t.Errorf("the room holds %s", got)
			}
		})
	}
}
