package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/denrooms/den/hibernate"
	"github.com/denrooms/den/syncproto"
)

func text(s string) *hibernate.Frame {
	return hibernate.TextFrame(len(s), func(dst []byte) []byte { return append(dst, s...) })
}

// pipeLink makes a link over net.Pipe, whose writes wait for the reader. It is for
// synctest: the pipe knows virtual time.
func pipeLink(t *testing.T, o Options) (l *link, client net.Conn, ended *int) {
	t.Helper()
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	server, client := net.Pipe()
	ended = new(int)
	l = newLink(server, &o, func() { *ended++ })
	return l, client, ended
}

func readPayloads(t *testing.T, r *bufio.Reader, n int) []string {
	t.Helper()
	var list []string
	for range n {
		f, err := readFrame(r)
		if err != nil {
			t.Fatalf("frame %d: %v", len(list), err)
		}
		list = append(list, string(f.payload))
	}
	return list
}

// Of the frames that a parked socket was sent the rest goes out, wherever the kernel has stopped.
func TestLinkResumes(t *testing.T) {
	var frames []queued
	var stream []byte
	for _, size := range []int{300, 1, 40} {
		f := queue(text(strings.Repeat(strconv.Itoa(size%10), size)))
		frames, stream = append(frames, f), append(stream, f.wire...)
	}
	for done := range stream {
		synctest.Test(t, func(t *testing.T) {
			l, client, _ := pipeLink(t, Options{})
			l.resume(slices.Clone(frames), done)
			rest := make([]byte, len(stream)-done)
			if _, err := io.ReadFull(client, rest); err != nil || !bytes.Equal(rest, stream[done:]) {
				t.Fatalf("after %d bytes there came %q, %v", done, rest, err)
			}
			synctest.Wait()
			if !l.idle() || l.Waiting() != 0 {
				t.Errorf("after %d bytes %d still wait", done, l.Waiting())
			}
			l.abort(closeAbnormal, "")
		})
	}
}

// A pong covers what was written before the ping. If the queue is never empty, that is what an earlier ping has noted.
func TestLinkPingCovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, _ := pipeLink(t, Options{})
		defer client.Close()
		frame := text(strings.Repeat("x", 100_000))
		read := func(n int) { // more of what the link sends, pings too
			if _, err := io.CopyN(io.Discard, client, int64(n)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		expect := func(what string, mark, covers uint64) {
			t.Helper()
			if got := l.ping(pingFrame(mark), mark); got != covers {
				t.Errorf("%s: a ping covers %d, want %d", what, got, covers)
			}
		}
		expect("with nothing sent", 1, 1)
		l.Send(frame)
		expect("with the first frame on its way", 2, 0)
		l.Send(frame)
		expect("with a second one", 3, 0)
		read(len(frame.Wire()) + 40) // with the pings
		expect("when the first has left", 4, 2)
		l.Send(frame)
		expect("with a third one", 5, 0)
		read(len(frame.Wire()))
		expect("when the second has left", 6, 4)
		read(len(frame.Wire()))
		expect("when all have left", 7, 7)
		l.abort(closeAbnormal, "")
	})
}

// What a socket takes at once, whole or in part, and what is left to the flusher make one
// stream in order.
func TestLinkWritesAtOnceInPart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	o, err := Options{SendQueueFrames: 1 << 20, SendQueueBytes: 1 << 30}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	server.(*net.TCPConn).SetWriteBuffer(8 << 10)
	l := newLink(server, &o, func() {})
	defer l.abort(1006, "")
	const frames = 3000
	tries := 0
	for i := range frames {
		o.direct.last.Store(0) // each may try
		l.Send(text(fmt.Sprintf("%05d%s", i, strings.Repeat("x", 3000+i%1000))))
		if o.direct.last.Load() != 0 {
			tries++
		}
	}
	if runtime.GOOS != "windows" && tries == 0 {
		t.Error("no frame was written at once")
	}
	for i, payload := range readPayloads(t, bufio.NewReader(client), frames) {
		if want := fmt.Sprintf("%05d", i); payload[:5] != want || len(payload) != 5+3000+i%1000 {
			t.Fatalf("frame %d begins with %s and has %d bytes", i, payload[:5], len(payload))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.frames != 0 || l.waiting.bytes != 0 {
		t.Errorf("the queue is empty, and %+v is said to wait", l.waiting)
	}
}

// Frames leave in order, and control frames before those that wait, but never inside one.
func TestLinkSendsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, _ := pipeLink(t, Options{})
		big := strings.Repeat("c", 2*pieceSize+1)
		l.Send(text(big))
		synctest.Wait() // its first piece is being written
		l.Send(text("a"), text("b"))
		l.Send(text("d"))
		l.sendUrgent([]byte{finBit | 0xA, 1, 'p'})
		l.sendUrgent([]byte{finBit | 0xA, 1, 'r'})
		l.Send()
		l.Close(1000, "bye")
		l.Send(text("too late"))
		l.sendUrgent([]byte{finBit | 0xA, 1, 'q'})
		l.Close(4000, "too late")
		r := bufio.NewReader(client)
		got := readPayloads(t, r, 7)
		want := []string{big, "p", "r", "a", "b", "d", "\x03\xe8bye"}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("frame %d is %.20q, want %.20q", i, got[i], want[i])
			}
		}
		<-l.done
		client.Close()
		l.conn.Close()
	})
}

// TestLinkWholeFrames lets many send at once, sizes around every threshold, and
// wants whole frames with each sender's in its order.
func TestLinkWholeFrames(t *testing.T) {
	const senders, each = 8, 200
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	server, client := tcpPair(t)
	o, _ := Options{SendQueueBytes: 1 << 30, SendQueueFrames: 1 << 20}.withDefaults()
	l := newLink(server, &o, func() {})
	var wg sync.WaitGroup
	for s := range senders {
		wg.Add(1)
		go func() { // ends when it has sent its frames
			defer wg.Done()
			rng := rand.New(rand.NewPCG(seed, uint64(s)))
			sizes := []int{4, 5, 120, 130, 1000, gatherFrame - 20, gatherFrame, gatherSize, pieceSize + 100}
			for i := range each {
				payload := make([]byte, max(4, sizes[rng.IntN(len(sizes))]))
				binary.BigEndian.PutUint16(payload, uint16(s))
				binary.BigEndian.PutUint16(payload[2:], uint16(i))
				if rng.IntN(10) == 0 {
					l.sendUrgent([]byte{finBit | 0xA, 0})
				}
				l.Send(hibernate.BinaryFrame(payload))
			}
		}()
	}
	r := bufio.NewReader(client)
	next := make([]int, senders)
	for n := 0; n < senders*each; {
		f, err := readFrame(r)
		if err != nil {
			t.Fatal(err)
		}
		if f.op != 2 {
			continue
		}
		s, i := binary.BigEndian.Uint16(f.payload), int(binary.BigEndian.Uint16(f.payload[2:]))
		if i != next[s] {
			t.Fatalf("sender %d: frame %d, want %d", s, i, next[s])
		}
		next[s]++
		n++
	}
	wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting.frames < 0 || cap(l.queue) > len(l.inline) && len(l.queue) == 0 {
		t.Errorf("after the burst: waiting %+v, queue of capacity %d", l.waiting, cap(l.queue))
	}
}

func TestLinkIdleCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, _ := pipeLink(t, Options{SendQueueFrames: 1 << 20})
		go io.Copy(io.Discard, client) // ends when the pipe closes
		for range 1000 {
			l.Send(text("x"))
		}
		synctest.Wait()
		if l.flushing || l.waiting != (load{}) || l.credit != (load{}) || len(l.queue) != 0 || cap(l.queue) != len(l.inline) {
			t.Errorf("idle link: flushing %v, waiting %+v, credit %+v, queue %d/%d", l.flushing, l.waiting, l.credit, len(l.queue), cap(l.queue))
		}
		l.conn.Close()
	})
}

func TestInvariantBoundedSendQueue(t *testing.T) {
	for name, o := range map[string]Options{
		"bytes":  {SendQueueBytes: 10_000},
		"frames": {SendQueueFrames: 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, client, ended := pipeLink(t, o)
				defer client.Close()
				sent := 0
				for ; !l.closing() && sent < 1000; sent++ {
					l.Send(text(strings.Repeat("x", 1000)))
				}
				if sent > 12 {
					t.Fatalf("%d frames were taken", sent)
				}
				began := time.Now()
				<-l.done
				synctest.Wait()
				if took := time.Since(began); took != closeTimeout {
					t.Errorf("a client that takes nothing was given up after %v, want %v", took, closeTimeout)
				}
				if code, reason := l.why(); code != syncproto.CloseSlowConsumer || reason != "slow_consumer" || *ended != 1 {
					t.Errorf("closed with %d %q, ended %d times", code, reason, *ended)
				}
				if _, err := l.conn.Write([]byte("x")); err == nil {
					t.Error("the connection is still open")
				}
			})
		})
	}
}

// TestLinkSlowConsumerIsTold: a client that wakes up in time gets the rest of the
// frame that was half out, and then the code.
func TestLinkSlowConsumerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, ended := pipeLink(t, Options{SendQueueFrames: 3})
		big := strings.Repeat("b", pieceSize*3)
		l.Send(text(big))
		synctest.Wait() // the first piece is being written
		for !l.closing() {
			l.Send(text("dropped"))
		}
		time.Sleep(closeTimeout / 2)
		r := bufio.NewReader(client)
		if got := readPayloads(t, r, 1); got[0] != big {
			t.Errorf("the frame that was half out is broken: %d bytes", len(got[0]))
		}
		f, err := readFrame(r)
		if err != nil {
			t.Fatal(err)
		}
		if code, reason := f.close(); f.op != opClose || code != syncproto.CloseSlowConsumer || reason != "slow_consumer" {
			t.Errorf("then came %#x %d %q", f.op, code, reason)
		}
		<-l.done
		synctest.Wait()
		if *ended != 1 {
			t.Errorf("ended %d times", *ended)
		}
		l.conn.Close()
	})
}

// TestLinkLargeSend: what is sent in one call may be larger than the queue, and
// what follows it is not refused for that.
func TestLinkLargeSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, _ := pipeLink(t, Options{SendQueueBytes: 10_000, SendQueueFrames: 5})
		pages := make([]*hibernate.Frame, 20)
		for i := range pages {
			pages[i] = text(strings.Repeat("p", 5000))
		}
		l.Send(pages...)
		l.Send(text("update 1"))
		l.Send(text("update 2"))
		got := readPayloads(t, bufio.NewReader(client), 22)
		if got[20] != "update 1" || got[21] != "update 2" {
			t.Errorf("behind the pages: %.20q, %.20q", got[20], got[21])
		}
		synctest.Wait()
		if l.closing() || l.credit != (load{}) {
			t.Errorf("closing %v, credit left %+v", l.closing(), l.credit)
		}
		for !l.closing() { // the limit is back
			l.Send(text("x"))
		}
		client.Close()
		<-l.done
	})
}

func TestLinkWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, ended := pipeLink(t, Options{WriteTimeout: 7 * time.Second})
		defer client.Close()
		began := time.Now()
		l.Send(text("nobody reads"))
		<-l.done
		synctest.Wait()
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if code, _ := l.why(); code != syncproto.CloseSlowConsumer || *ended != 1 {
			t.Errorf("code %d, ended %d times", code, *ended)
		}
	})
}

// TestLinkSlowButSteady: a slow client is not closed as long as it takes a piece
// in well under WriteTimeout.
func TestLinkSlowButSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, _ := pipeLink(t, Options{WriteTimeout: 10 * time.Second})
		big := bytes.Repeat([]byte("s"), pieceSize*5)
		l.Send(hibernate.BinaryFrame(big))
		r := bufio.NewReaderSize(slowReader{client, 8 * time.Second / (pieceSize / 4096)}, 4096)
		f, err := readFrame(r)
		if err != nil || !bytes.Equal(f.payload, big) {
			t.Fatalf("%d bytes, %v", len(f.payload), err)
		}
		l.abort(1006, "")
		client.Close()
	})
}

// A slowReader gives 4 KiB at a time, with a pause before each.
type slowReader struct {
	r     io.Reader
	pause time.Duration
}

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.r.Read(p[:min(len(p), 4096)])
}

func TestLinkBrokenLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, ended := pipeLink(t, Options{})
		client.Close()
		l.Send(text("x"))
		<-l.done
		synctest.Wait()
		if code, _ := l.why(); code != closeAbnormal || *ended != 1 {
			t.Errorf("code %d, ended %d times", code, *ended)
		}
		l.abort(4000, "again")
		l.Close(1000, "again")
		l.Send(text("x"))
		if code, _ := l.why(); code != closeAbnormal || *ended != 1 {
			t.Errorf("afterwards: code %d, ended %d times", code, *ended)
		}
	})
}

func TestCloseFrame(t *testing.T) {
	tests := []struct {
		code       int
		reason     string
		wantCode   int
		wantReason string
	}{
		{1000, "bye", 1000, "bye"},
		{4500, "", 4500, ""},
		{0, "x", closeNoStatus, ""},
		{1005, "x", closeNoStatus, ""},
		{1006, "x", 1011, "x"},
		{999, "", 1011, ""},
		{5000, "", 1011, ""},
		{1000, strings.Repeat("é", 100), 1000, strings.Repeat("é", 61)},
	}
	for _, tt := range tests {
		frame := closeFrame(tt.code, tt.reason)
		if len(frame) > 127 || int(frame[1]) != len(frame)-2 || frame[0] != finBit|opClose {
			t.Errorf("closeFrame(%d): header % x of %d bytes", tt.code, frame[:2], len(frame))
		}
		if code, reason := (rawFrame{payload: frame[2:]}).close(); code != tt.wantCode || reason != tt.wantReason {
			t.Errorf("closeFrame(%d, %.10q) says %d %q", tt.code, tt.reason, code, reason)
		}
	}
}

func tcpPair(t testing.TB) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// What waits is what the client has not taken yet.
func TestLinkSaysWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, _ := pipeLink(t, Options{})
		if n := l.Waiting(); n != 0 {
			t.Errorf("%d bytes wait at first", n)
		}
		l.Send(text(strings.Repeat("a", 1000)), text(strings.Repeat("b", 1000)))
		synctest.Wait()
		if n := l.Waiting(); n < 2000 || n > 2100 {
			t.Errorf("%d bytes wait of two frames that nobody reads", n)
		}
		readPayloads(t, bufio.NewReader(client), 2)
		synctest.Wait()
		if n := l.Waiting(); n != 0 {
			t.Errorf("%d bytes wait when all is read", n)
		}
		l.abort(1006, "")
		client.Close()
	})
}

// A connection whose Write panics ends by itself: a program may have put one of its own in its place.
func TestLinkWhoseConnectionPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, client, ended := pipeLink(t, Options{Logger: slog.New(slog.DiscardHandler)})
		defer client.Close()
		l.conn = panicsToWrite{l.conn}
		l.Send(text("hello"))
		<-l.done
		synctest.Wait()
		if code, _ := l.why(); code != closeAbnormal || *ended != 1 {
			t.Errorf("it ended %d times, with %d", *ended, code)
		}
	})
}

type panicsToWrite struct{ net.Conn }

func (panicsToWrite) Write([]byte) (int, error) { panic("not today") }
