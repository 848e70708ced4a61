package storage

import "testing"

// Where rooms begin and none sleeps, connections are made for those that come next, with the
// statements that the kind uses, and no more of them than are wanted.
func TestStock(t *testing.T) {
	n := newNursery(t)
	a := n.born("a") // takes the only spare
	if got := n.kind.count(); got != 0 {
		t.Fatalf("%d spares", got)
	}
	const mine = `SELECT count(*) FROM todos WHERE text = ?`
	add(t, a, 1, "x")
	query(t, a, mine, "x")
	work := a.Stock()
	if work == nil {
		t.Fatal("nothing to do")
	}
	b := n.born("b") // while it is under way
	add(t, b, 1, "x")
	if b.Stock() != nil {
		t.Error("the same work twice")
	}
	work()
	if got := n.kind.count(); got != fewSpares {
		t.Errorf("%d spares, want %d", got, fewSpares)
	}
	if a.Stock() != nil {
		t.Error("a DB is asked twice")
	}
	c := n.born("c")
	if got := n.kind.count(); got != fewSpares-1 {
		t.Errorf("%d spares, want %d", got, fewSpares-1)
	}
	for _, sql := range []string{mine} {
		if s := c.caches[handler].Get(sql); s == nil {
			t.Errorf("%s is not compiled", sql)
		} else {
			s.Release()
		}
	}
	if c.tx.commit.statement == nil {
		t.Error("COMMIT is not compiled")
	}
	add(t, c, 2, "y")
	if got := query(t, c, mine, "x")[0][0]; got != int64(0) {
		t.Errorf("c has %v rows of a", got)
	}
	if got := query(t, c, mine, "y")[0][0]; got != int64(1) || c.Seq() != 1 {
		t.Errorf("c has %v rows of its own at %d", got, c.Seq())
	}
	for name, d := range map[string]*DB{"a": a, "b": b, "c": c} {
		checkConsistent(t, d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		checkConsistent(t, n.open(name))
	}
}

// Work that comes to its end behind the Kind's leaves nothing.
func TestStockBehindTheEnd(t *testing.T) {
	n := newNursery(t)
	d := n.born("a")
	if d.Stock() != nil {
		t.Error("work before a room has used anything")
	}
	add(t, d, 1, "x")
	work := d.Stock()
	d.Fence()
	n.kind.Close()
	work()
	if got := n.kind.count(); got != 0 {
		t.Errorf("%d spares", got)
	}
}

// A room that is in memory checkpoints its WAL into the database there, and gets its file
// when that has grown.
func TestBornCheckpoints(t *testing.T) {
	n := newNursery(t)
	d := n.born("a")
	i := 0
	for ; d.merged < 2; i++ {
		if i == 100 {
			t.Fatal("it never checkpoints")
		}
		add(t, d, i, "x")
		d.Rest()
		if len(d.wal.buf) >= gatherBytes/2 {
			t.Fatalf("%d bytes wait behind action %d", len(d.wal.buf), i)
		}
	}
	if !d.unsettled() {
		t.Error("it has a file")
	}
	checkConsistent(t, d)
	for ; d.unsettled(); i++ {
		if i == 1000 {
			t.Fatal("it never gets a file")
		}
		add(t, d, i, "x")
		d.Rest()
	}
	if d.merged != maxCheckpoints+1 {
		t.Errorf("it got its file at the %dth checkpoint, want the one behind %d", d.merged, maxCheckpoints)
	}
	checkConsistent(t, d)
	rows := query(t, d, "SELECT count(*) FROM todos")[0][0]
	d.Fence()
	if err := n.log.Close(); err != nil {
		t.Fatal(err)
	}
	n.kind.Close()
	n.kind = new(Kind)
	n.restart()
	d = n.open("a")
	if got := query(t, d, "SELECT count(*) FROM todos")[0][0]; got != rows {
		t.Errorf("%v rows, want %v", got, rows)
	}
	checkConsistent(t, d)
}
