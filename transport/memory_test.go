package transport

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

// TestInvariantBoundedLinkMemory: whatever is sent over links, however they end, and wherever: what waits counts,
// a frame once, and nothing counts when all links have ended.
func TestInvariantBoundedLinkMemory(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			memory := hibernate.NewMemory(1 << 40)
			var links []*link
			var clients []net.Conn
			for range 3 {
				l, client, _ := pipeLink(t, Options{SendQueueBytes: 200_000, SendQueueFrames: 60, memory: memory})
				links, clients = append(links, l), append(clients, client)
			}
			for range 60 {
				at := rnd.IntN(len(links))
				switch n := rnd.IntN(20); {
				case n < 8:
					f := hibernate.BinaryFrame(make([]byte, rnd.IntN(1<<rnd.IntN(17))))
					for _, l := range links[rnd.IntN(len(links)):] {
						l.Send(f)
					}
				case n < 10:
					links[at].Send(text("a"), hibernate.BinaryFrame(make([]byte, 30_000)), text("b"))
				case n < 13:
					links[at].sendUrgent(pingFrame(1))
				case n < 18:
					clients[at].SetReadDeadline(time.Now().Add(time.Millisecond)) // virtual
					io.CopyN(io.Discard, clients[at], rnd.Int64N(50_000))
				case n < 19:
					links[at].Close(1000, "")
				default:
					links[at].giveUp(4001, "")
				}
				if n := rnd.IntN(100); n == 0 {
					links[at].abort(1006, "")
				}
				synctest.Wait()
			}
			if rnd.IntN(2) == 0 {
				for _, c := range clients {
					c.Close()
				}
				synctest.Wait()
			}
			for i, l := range links {
				l.abort(1006, "")
				clients[i].Close()
				<-l.done
			}
			if memory.Used() != 0 {
				t.Errorf("seed %d: %d bytes count after all links have ended", seed, memory.Used())
			}
		})
	}
}

// A frame for many sockets counts once, and no longer when the last of them has taken it.
func TestBroadcastMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := hibernate.NewMemory(1 << 40)
		frame := hibernate.BinaryFrame(make([]byte, 100_000))
		var readers []*bufio.Reader
		for range 10 {
			l, client, _ := pipeLink(t, Options{memory: memory})
			l.Send(frame)
			defer l.abort(1006, "")
			readers = append(readers, bufio.NewReader(client))
		}
		synctest.Wait()
		if got := memory.Used(); got != int64(len(frame.Wire())) {
			t.Errorf("ten sockets wait for one frame of %d bytes: %d count", len(frame.Wire()), got)
		}
		for i, r := range readers {
			if memory.Used() == 0 {
				t.Errorf("nothing counts, and %d sockets wait", len(readers)-i)
			}
			readPayloads(t, r, 1)
			synctest.Wait()
		}
		if got := memory.Used(); got != 0 {
			t.Errorf("%d bytes count after all sockets have taken the frame", got)
		}
	})
}

// When the node's memory is scarce, a client for which more waits than is left is closed, and one that has taken all
// goes on, and gets more.
func TestScarceMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := hibernate.NewMemory(1 << 20)
		slow, _, _ := pipeLink(t, Options{memory: memory})
		quick, client, _ := pipeLink(t, Options{memory: memory})
		defer quick.abort(1006, "")
		go io.Copy(io.Discard, client) // ends with the link
		for range 20 {
			slow.Send(hibernate.BinaryFrame(make([]byte, 50_000)))
			quick.Send(hibernate.BinaryFrame(make([]byte, 50_000)))
			synctest.Wait()
		}
		if code, _ := slow.why(); code != syncproto.CloseSlowConsumer {
			t.Errorf("a client for which half of the memory waits: closed with %d, want %d", code, syncproto.CloseSlowConsumer)
		}
		if quick.closing() {
			t.Error("a client that takes all was closed")
		}
		time.Sleep(time.Minute)
		<-slow.done
		if got := memory.Used(); got != 0 {
			t.Errorf("%d bytes count", got)
		}
	})
}
