package hibernate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

const unitDelay = 10 * time.Millisecond

// fixed gives Shares whose units have a delay.
func fixed(delay time.Duration) *Shares {
	s := NewShares(nil)
	s.Fix(delay)
	return s
}

func wantWait(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got != want {
		t.Errorf("%s: it is to wait %v, want %v", what, got, want)
	}
}

func TestSharesDelay(t *testing.T) {
	for _, c := range []struct {
		before time.Duration
		late   bool
		want   time.Duration
	}{
		{0, false, 0},
		{0, true, delayLeast},
		{delayLeast, false, 0},
		{2 * delayLeast, true, 4 * delayLeast},
		{128 * delayLeast, false, 127 * delayLeast},
		{delayMost, true, delayMost},
		{delayMost, false, delayMost - delayMost/128},
	} {
		if got := nextDelay(c.before, c.late); got != c.want {
			t.Errorf("after %v, late: %v, the delay is %v, want %v", c.before, c.late, got, c.want)
		}
	}
}

func TestSharesKeepUp(t *testing.T) {
	var none *Shares
	if none.Congested() || none.Enter(t.Context(), "192.0.2.1", UnitBytes) != nil {
		t.Error("a nil Shares is congested")
	}
	none.Leave(new(Share), "192.0.2.1")
	none.Stop()
	s := fixed(0)
	share := new(Share)
	share.Spend(1_000_000 * UnitBytes)
	wantWait(t, "a node that keeps up", s.Wait(share), 0)
	s.Fix(unitDelay)
	wantWait(t, "what was spent before the congestion", s.Wait(share), 0)
	for range 100 {
		if wait, err := fixed(0).queue("192.0.2.1", 1000*UnitBytes); wait != 0 || err != nil {
			t.Errorf("somebody new waits %v for a node that keeps up (%v)", wait, err)
		}
	}
}

// TestSharesEqual: two clients that ask for too much are read equally often, and one that asks for less than its share is not held up.
func TestSharesEqual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fixed(unitDelay)
		large, small, light := new(Share), new(Share), new(Share)
		spent := map[*Share]int{}
		due := map[*Share]time.Time{}
		for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(time.Millisecond) {
			for share, units := range map[*Share]int{large: 20, small: 2} {
				if due[share].After(time.Now()) {
					continue
				}
				share.Spend(int64(units) * UnitBytes)
				spent[share] += units
				due[share] = time.Now().Add(s.Wait(share))
			}
			if time.Since(began)%(20*time.Millisecond) == 0 { // half of its share
				light.Spend(UnitBytes)
				if wait := s.Wait(light); wait > unitDelay {
					t.Fatalf("a client that asks for half of its share waits %v", wait)
				}
			}
		}
		for what, share := range map[string]*Share{"large messages": large, "small messages": small} {
			if n := spent[share]; n < 990 || n > 1050 {
				t.Errorf("%s: a client has spent %d units in 1000 delays", what, n)
			}
		}
	})
}

// TestSharesBurst: a client that has rested may spend some units at once, and one that has just come may not.
func TestSharesBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, share := fixed(unitDelay), new(Share)
		share.Age(youngFor - 1)
		share.Spend(2 * UnitBytes)
		wantWait(t, "a client that has just come", s.Wait(share), youngCost*2*unitDelay)
		share.Age(youngFor)
		time.Sleep(time.Minute)
		share.Spend(burst * UnitBytes)
		wantWait(t, "a client that has rested", s.Wait(share), 0)
		share.Spend(3 * UnitBytes)
		wantWait(t, "one that goes on", s.Wait(share), 3*unitDelay)
		old := new(Share)
		old.Spend((burst + 1) * UnitBytes)
		wantWait(t, "a client that was there before the congestion", s.Wait(old), unitDelay)
		share.Spend(1 << 60)
		wantWait(t, "one that has spent more than anybody may", s.Wait(share), most)
	})
}

func TestSharesEnter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fixed(unitDelay)
		began := time.Now()
		enter := func(address string, want time.Duration) {
			t.Helper()
			if err := s.Enter(t.Context(), address, 5*UnitBytes); err != nil {
				t.Fatal(err)
			}
			wantWait(t, address, time.Since(began), want)
		}
		enter("192.0.2.1", 0)
		enter("192.0.2.1", 5*unitDelay)
		enter("192.0.2.1", 10*unitDelay)
		began = time.Now()
		enter("192.0.2.2", 0)

		ctx, cancel := context.WithTimeout(t.Context(), unitDelay)
		defer cancel()
		if err := s.Enter(ctx, "192.0.2.2", 5*UnitBytes); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one that has gone while it waited: %v", err)
		}
		for range int(most / unitDelay) {
			if _, err := s.queue("192.0.2.3", 1*UnitBytes); err != nil {
				if !errors.Is(err, ErrCongested) {
					t.Error(err)
				}
				return
			}
		}
		t.Error("nobody is turned away, however many wait")
	})
}

// TestSharesRelease: a client that waits for its share waits no longer than a step after the node has come to keep up.
func TestSharesRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fixed(unitDelay)
		if _, err := s.queue("192.0.2.1", 100*UnitBytes); err != nil {
			t.Fatal(err)
		}
		const kept = 2*pauseStep + pauseStep/2
		time.AfterFunc(kept, func() { s.Fix(0) })
		began := time.Now()
		if err := s.Enter(t.Context(), "192.0.2.1", UnitBytes); err != nil {
			t.Fatal(err)
		}
		wantWait(t, "somebody new", time.Since(began), 3*pauseStep)
	})
}

// TestSharesLeave: who leaves owing something does not gain by it. Those who come from its address pay, for what is served
// after it has left, too.
func TestSharesLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, share := fixed(unitDelay), new(Share)
		share.Age(0)
		share.Spend(10 * UnitBytes)
		s.Wait(share)
		share.Spend(20 * UnitBytes)
		s.Leave(share, "192.0.2.1")
		share.Spend(40 * UnitBytes)
		for address, want := range map[string]time.Duration{"192.0.2.1": youngCost * 70 * unitDelay, "192.0.2.2": 0} {
			if wait, err := s.queue(address, 1*UnitBytes); err != nil || wait != want {
				t.Errorf("from %s: it waits %v, want %v (%v)", address, wait, want, err)
			}
		}
		s.Leave(new(Share), "192.0.2.3")
		if wait, _ := s.queue("192.0.2.3", 1*UnitBytes); wait != 0 {
			t.Errorf("after one that owed nothing, somebody new waits %v", wait)
		}
	})
}

// TestSharesAddresses: the memory for addresses is bounded, and those for whom there is none share.
func TestSharesAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fixed(unitDelay)
		come := func(i int) time.Duration {
			wait, err := s.queue(fmt.Sprint("address ", i), 2*UnitBytes)
			if err != nil {
				t.Fatal(err)
			}
			return wait
		}
		for i := range mostAddresses {
			wantWait(t, "one of few", come(i), 0)
		}
		wantWait(t, "the first of the others", come(mostAddresses), 0)
		wantWait(t, "the second of the others", come(mostAddresses+1), 2*unitDelay)
		if n := len(s.newcomers); n > mostAddresses+1 {
			t.Errorf("%d addresses are known", n)
		}
		time.Sleep(time.Minute)
		wantWait(t, "one that comes later", come(mostAddresses+2), 0)
		if n := len(s.newcomers); n != 1 {
			t.Errorf("%d addresses are known after all the others have waited", n)
		}
	})
}

// TestSharesIdle: where nobody asks the timer ends, and it begins again with whoever asks.
func TestSharesIdle(t *testing.T) {
	s := NewShares(nil)
	defer s.Stop()
	timed := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.timer != nil
	}
	for range 2 {
		s.Congested()
		if !timed() {
			t.Fatal("nothing looks whether the node keeps up")
		}
		for deadline := time.Now().Add(time.Minute); timed(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the timer does not end")
			}
		}
	}
	s.Stop()
	if s.Congested(); timed() {
		t.Error("a timer begins after Stop")
	}
}

// TestSharesLook: a node whose goroutines are late while the process keeps processors busy is congested until they are not.
// slow is called once when the delay reaches its maximum.
func TestSharesLook(t *testing.T) {
	slowest := 0
	s := NewShares(func() { slowest++ })
	defer s.Stop()
	s.Congested()
	s.mu.Lock()
	s.timer.Stop() // the test looks itself
	s.mu.Unlock()
	look := func(late time.Duration, high bool) {
		s.mu.Lock()
		s.load = processLoad{since: time.Now(), high: high}
		s.mu.Unlock()
		s.Congested()
		s.observe(late)
	}
	look(tickLate, false)
	if s.Congested() {
		t.Error("the node is congested although the process does next to nothing")
	}
	look(tickLate-1, true)
	if s.Congested() {
		t.Error("the node is congested although nobody is late")
	}
	look(tickLate, true)
	if !s.Congested() {
		t.Error("the node is not congested although the process is busy and goroutines are late")
	}
	for range 100 {
		look(tickLate, true)
	}
	if slowest != 1 {
		t.Errorf("it was told %d times that the delay is the longest, want once", slowest)
	}
	s.observe(0) // nobody has asked since the last look
	if !s.Congested() {
		t.Error("the node is not congested any more because nobody asked for a moment")
	}
	for range 1000 {
		look(0, true)
	}
	if s.Congested() {
		t.Error("the node is congested long after nobody is late any more")
	}
}

// TestSharesOwnLoad: a process that uses no processor is not what makes the machine slow.
func TestSharesOwnLoad(t *testing.T) {
	if _, known := processorTime(); !known {
		t.Log("this system does not tell the process's processor time")
		return
	}
	var first processLoad
	if first.busy(time.Now()) {
		t.Error("a process counts as busy before anything is known of it")
	}
	used, _ := processorTime()
	l := processLoad{since: time.Now().Add(-time.Hour), spent: used}
	if l.busy(time.Now()) {
		t.Error("a process that has used nothing for an hour counts as busy")
	}
	hour := time.Hour * time.Duration(min(runtime.NumCPU(), runtime.GOMAXPROCS(0))) // of all processors
	for percent, want := range map[time.Duration]bool{40: false, 60: true} {
		l = processLoad{since: time.Now().Add(-time.Hour), spent: used - percent*hour/100}
		if l.busy(time.Now()) != want {
			t.Errorf("a process that has used %d %% of the processors counts as busy: %v", percent, !want)
		}
	}
	l = processLoad{since: time.Now().Add(-loadWindow), spent: used - time.Hour}
	if !l.busy(time.Now()) {
		t.Error("a process that has used an hour in a moment does not count as busy")
	}
	if l.since = time.Now(); !l.busy(time.Now()) {
		t.Error("the load is not kept until there is a new one")
	}
}
