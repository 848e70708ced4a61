package hibernate

import "testing"

// A mark has the room's commit and how many answers were given; a client that has confirmed the mark has both, and one that has
// confirmed an earlier one is known to lack an answer.
func TestConnectionMarks(t *testing.T) {
	var c Connection
	want := func(step string, handed, confirmed uint64, answered bool) {
		t.Helper()
		seq, all := c.ConfirmedSeq()
		if c.HandedSeq() != handed || seq != confirmed || all != answered {
			t.Errorf("%s: handed %d, confirmed %d, %v; want %d, %d, %v", step, c.HandedSeq(), seq, all, handed, confirmed, answered)
		}
	}
	want("at first", 0, 0, true)
	if c.Given() {
		t.Error("something was given at first")
	}
	c.Handed(7)
	want("7 was handed", 7, 0, true)
	c.Answered()
	want("an answer was given", 7, 0, false)
	c.Confirm(c.Mark())
	want("all is confirmed", 7, 7, true)
	before := c.Mark()
	c.Answered()
	c.Handed(9)
	want("another answer was given", 9, 7, false)
	c.Confirm(before)
	want("what came before it is confirmed", 9, 7, false)
	c.Confirm(c.Mark())
	want("all is confirmed again", 9, 9, true)
	c.Handed(seqMask)
	c.Confirm(c.Mark())
	want("the last commit that there can be", seqMask, seqMask, true)
	for range mostAnswers {
		c.Answered()
	}
	c.Confirm(c.Mark())
	want("more answers than can be counted", seqMask, seqMask, false)
	c.Answered()
	want("and one more", seqMask, seqMask, false)
}

// What is kept with a connection by different parties does not touch each other, in whatever order it is set.
func TestConnectionKeepsApart(t *testing.T) {
	one := new(int)
	set := []func(c *Connection){
		func(c *Connection) { c.SetState(State{Attachment: []byte("a")}) },
		func(c *Connection) { c.Keep(one) },
		func(c *Connection) { c.SetNumbers("phone") },
	}
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		var c Connection
		for _, i := range order {
			set[i](&c)
		}
		if string(c.State().Attachment) != "a" || c.Kept() != any(one) || c.Numbers() != "phone" {
			t.Errorf("in the order %v: %+v, %v, %q", order, c.State(), c.Kept(), c.Numbers())
		}
		c.Drop(one)
		if string(c.State().Attachment) != "a" || c.Kept() != nil || c.Numbers() != "phone" {
			t.Errorf("after Drop: %+v, %v, %q", c.State(), c.Kept(), c.Numbers())
		}
		c.SetState(State{})
		if c.Numbers() != "phone" {
			t.Errorf("without a state the client is %q", c.Numbers())
		}
		if c.SetNumbers(""); c.rare.Load() != nil {
			t.Error("nothing takes memory")
		}
	}
}
