package hibernate

import "testing"

// A connection that has ended is not added any more, so that one which is removed after its end stays removed.
func TestEndedConnectionIsNotAdded(t *testing.T) {
	var r Registry
	rooms := r.Rooms()
	c := &Connection{Serial: r.Serial()}
	c.Name("alice", "r")
	if !rooms.Add(c) || r.Len() != 1 {
		t.Fatalf("%d connections", r.Len())
	}
	c.End()
	if !rooms.Remove(c) || rooms.Add(c) || r.Len() != 0 || len(rooms.Connections("r")) != 0 {
		t.Errorf("after its end there are %d connections", r.Len())
	}
}

// The stages of a connection do not touch each other.
func TestConnectionStages(t *testing.T) {
	c := new(Connection)
	c.Admit()
	c.Handed(3)
	c.Note()
	if !c.Admitted() || !c.Given() || !c.Noted() || c.Ended() {
		t.Error("a stage is missing")
	}
	c.Dismiss()
	if c.Admitted() || !c.Given() || !c.Noted() || c.Ended() {
		t.Error("Dismiss changed another stage")
	}
}
