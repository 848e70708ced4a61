package transport

import (
	"fmt"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	receivers   = 1000
	payloadSize = 200
)

// cpu is the processor time that this process has used, user and system.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rounds runs send, then waits for what it sent to arrive, and gives the CPU time of
// one delivery.
func rounds(b *testing.B, far *sinkProcess, n, size int, send func()) time.Duration {
	send()
	far.order("wait %d", receivers*size) // warm
	began := cpu(b)
	for range n {
		send()
		far.order("wait %d", receivers*size)
	}
	return (cpu(b) - began) / time.Duration(n*receivers)
}

// rawSockets are the server's ends of sockets to the far end.
func rawSockets(b *testing.B, far *sinkProcess) []net.Conn {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	conns := make(chan []net.Conn, 1)
	go func() { // ends when all have come or the listener is closed
		var list []net.Conn
		for len(list) < receivers {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			list = append(list, conn)
		}
		conns <- list
	}()
	far.order("dial %s %d -", ln.Addr(), receivers)
	list := <-conns
	b.Cleanup(func() {
		for _, conn := range list {
			conn.Close()
		}
	})
	return list
}

// BenchmarkLinkBroadcast is the price of a link over writing the same frame to
// the same sockets in a loop.
func BenchmarkLinkBroadcast(b *testing.B) {
	far := startSink(b)
	list := rawSockets(b, far)
	o, _ := Options{}.withDefaults()
	var links []*link
	for _, conn := range list {
		links = append(links, newLink(conn, &o, func() {}))
	}
	frame := text(strings.Repeat("x", payloadSize))
	wire := frame.Wire()
	raw := func() {
		for _, conn := range list {
			conn.Write(wire)
		}
	}
	linked := func() {
		for _, l := range links {
			l.Send(frame)
		}
	}
	b.ResetTimer()
	var floor, price time.Duration
	const turns = 5 // by turns, so that a busy machine is busy for both
	n := max(b.N/turns, 1)
	for range turns {
		floor += rounds(b, far, n, len(wire), raw)
		price += rounds(b, far, n, len(wire), linked)
	}
	b.ReportMetric(float64(floor.Nanoseconds())/turns, "raw-ns/delivery")
	b.ReportMetric(float64(price.Nanoseconds())/turns, "link-ns/delivery")
	b.ReportMetric(float64(price)/float64(floor), "ratio")
}

// BenchmarkRoomBroadcast is the price of a delivery through a room, from the
// action in its sender's socket to the receivers' sockets, over writing the same
// frame to as many sockets in a loop.
func BenchmarkRoomBroadcast(b *testing.B) {
	s := startServer(b, Options{})
	far := startSink(b)
	far.order("dial %s %d /parties/probe/home", s.addr(), receivers)
	pad := strings.Repeat("x", payloadSize)
	sender, witness := s.dial("/parties/probe/home"), s.dial("/parties/probe/home")
	joined(b, s, receivers+2)
	serial := 0
	act := func() {
		serial++
		sender.send(fmt.Sprintf(`{"id":"a%07d","channel":"items","rpc":true,"action":{"type":"add","payload":{"id":"x%07d","text":"%s"}}}`, serial, serial, pad))
		if reply := sender.read(); !strings.Contains(reply, "success") {
			b.Fatalf("the action: %s", reply)
		}
	}
	act()
	update := text(witness.read()) // all are of one size
	size := len(update.Wire())
	far.order("wait %d", receivers*size)

	list := rawSockets(b, far)
	raw := func() {
		for _, conn := range list {
			conn.Write(update.Wire())
		}
	}
	acted := func() { act(); witness.read() }
	b.ResetTimer()
	var floor, price time.Duration
	const turns = 5
	n := max(b.N/turns, 1)
	for range turns {
		floor += rounds(b, far, n, size, raw)
		price += rounds(b, far, n, size, acted)
	}
	b.ReportMetric(float64(size), "B/frame")
	b.ReportMetric(float64(floor.Nanoseconds())/turns, "raw-ns/delivery")
	b.ReportMetric(float64(price.Nanoseconds())/turns, "room-ns/delivery")
	b.ReportMetric(float64(price)/float64(floor), "ratio")
}

// BenchmarkIdleSocket is the memory of a quiet socket in a room: heap and stacks,
// without the kernel's.
func BenchmarkIdleSocket(b *testing.B) {
	s := startServer(b, Options{})
	far := startSink(b)
	far.order("dial %s 1 /parties/probe/home", s.addr())
	used := func() uint64 {
		runtime.GC()
		runtime.GC() // what pools hold goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := used()
	far.order("dial %s %d /parties/probe/home", s.addr(), receivers)
	after := used()
	b.ReportMetric(float64(after-before)/receivers, "B/socket")
	b.ReportMetric(0, "ns/op")
}
