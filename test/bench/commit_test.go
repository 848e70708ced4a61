package bench

// What a durable commit costs: one at a time, over many rooms, in one room.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkDurableCommit: one action at a time, from the message to the reply, without
// a socket. The floor appends 200 bytes to a file that grows and syncs its data. Beside it
// are shown a lower bound, the floor and an insert that a bare SQLite commits at
// synchronous=NORMAL, and what the action takes where nothing is synced: the processor's part.
func BenchmarkDurableCommit(b *testing.B) {
	client, unsynced := sit(b, openHost(b, durable), "bench"), sit(b, openHost(b, unlogged), "bench")
	bare := openBare(b)
	file, err := os.OpenFile(filepath.Join(b.TempDir(), "floor.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	entry := bytes.Repeat([]byte("x"), 200)
	appendAndSync := func() {
		if _, err := file.Write(entry); err != nil {
			b.Fatal(err)
		}
		if err := datasync(file); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		messages, own := client.prepare(101*20), unsynced.prepare(1000)
		took := turnAbout(100, 20, appendAndSync,
			func() { client.work(messages[:1], 1); messages = messages[1:] },
			func() { bare.insertAlone(); appendAndSync() })
		floor, action, least := took[0], took[1], took[2]
		var alone []time.Duration
		for i := range own {
			start := time.Now()
			unsynced.work(own[i:i+1], 1)
			alone = append(alone, time.Since(start))
		}
		f50, a50 := quantile(floor, 0.5), quantile(action, 0.5)
		f99, a99 := quantile(floor, 0.99), quantile(action, 0.99)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(f50.Nanoseconds())/1000, "floor-p50-µs")
		b.ReportMetric(float64(a50.Nanoseconds())/1000, "den-p50-µs")
		b.ReportMetric(float64(median(alone).Nanoseconds())/1000, "unsynced-p50-µs")
		b.ReportMetric(float64(a50)/float64(f50), "p50-ratio(≤1.3)")
		b.ReportMetric(float64(quantile(least, 0.5))/float64(f50), "lower-bound-p50-ratio")
		b.ReportMetric(float64(a99)/float64(f99), "p99-ratio")
	}
}

// BenchmarkManyRooms: 64 rooms, 256 actions in flight, 4 in each room. Once durable by
// the commit log, once with each room syncing for itself, once with nobody syncing. The last
// against the second is what a log could reach at the most that costs nothing.
func BenchmarkManyRooms(b *testing.B) {
	const rooms, inFlight, each = 64, 256, 64
	modes := []mode{durable, full, unlogged}
	seats := map[mode][]*seat{}
	for _, m := range modes {
		host := openHost(b, m)
		for i := range rooms {
			seats[m] = append(seats[m], sit(b, host, fmt.Sprintf("room%d", i)))
		}
	}
	round := func(m mode) time.Duration {
		messages := make([][][]byte, rooms)
		for i, s := range seats[m] {
			messages[i] = s.prepare(each)
		}
		start := time.Now()
		var all sync.WaitGroup
		for i, s := range seats[m] {
			all.Go(func() { s.work(messages[i], inFlight/rooms) })
		}
		all.Wait()
		return time.Since(start)
	}
	for _, m := range modes {
		round(m)
	}
	for b.Loop() {
		took := map[mode][]time.Duration{}
		for range fully(7, 3) {
			for _, m := range modes {
				took[m] = append(took[m], round(m))
			}
		}
		d, f, u := median(took[durable]), median(took[full]), median(took[unlogged])
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(perSecond(rooms*each, d), "durable/s")
		b.ReportMetric(perSecond(rooms*each, f), "full/s")
		b.ReportMetric(perSecond(rooms*each, u), "unlogged/s")
		b.ReportMetric(float64(f)/float64(d), "to-full-ratio(≥4)")
		b.ReportMetric(float64(u)/float64(d), "to-unlogged-ratio(≥0.75)")
		b.ReportMetric(float64(f)/float64(u), "unlogged-to-full-upper-bound")
	}
}

// BenchmarkOneRoom: one room, 256 actions in flight, durable. The floor is the bare insert of
// such rows by a loop, 256 to a transaction, through SQLite's driver at synchronous=NORMAL: no
// messages, no changes captured, nothing durable. Beside it is shown the loop that also
// decodes each message, inserts in a savepoint and encodes a reply.
func BenchmarkOneRoom(b *testing.B) {
	const actions, inFlight = 8192, 256
	client := sit(b, openHost(b, durable), "bench")
	bare, same := openBare(b), openBare(b)
	took := func(work func()) time.Duration {
		start := time.Now()
		work()
		return time.Since(start)
	}
	round := func() (bareTook, sameTook, denTook time.Duration) {
		messages := client.prepare(actions)
		bareTook = took(func() {
			for range actions / inFlight {
				bare.insert(inFlight)
			}
		})
		sameTook = took(func() {
			for batch := range slices.Chunk(messages, inFlight) {
				same.apply(batch)
			}
		})
		return bareTook, sameTook, took(func() { client.work(messages, inFlight) })
	}
	round()
	for b.Loop() {
		var bares, sames, dens []time.Duration
		for range fully(11, 3) {
			bareTook, sameTook, denTook := round()
			bares, sames, dens = append(bares, bareTook), append(sames, sameTook), append(dens, denTook)
		}
		f, s, d := median(bares), median(sames), median(dens)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(perSecond(actions, f), "bare-insert/s")
		b.ReportMetric(perSecond(actions, s), "same-work/s")
		b.ReportMetric(perSecond(actions, d), "den/s")
		b.ReportMetric(float64(s)/float64(d), "to-same-work-ratio")
		b.ReportMetric(float64(f)/float64(d), "to-bare-insert-ratio(≥0.6)")
	}
}
