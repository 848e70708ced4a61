package transport

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/denrooms/den/syncproto"
)

// Slow lines and dead ones, in virtual time. (Parked sockets are TCP's, and have their tests in
// slow_linux_test.go.)

// A lineClient reads frames, answers pings and keeps the rest.
type lineClient struct {
	*rawClient
	pings int
}

func dialLine(t *testing.T, accept func(net.Conn), s shape) (c *lineClient, cut func()) {
	there, here, cut := newLine(t, s)
	accept(there)
	c = &lineClient{rawClient: &rawClient{here, t, bufio.NewReader(here)}}
	c.upgrade("/parties/probe/home")
	return c, cut
}

// message gives the next frame that is not the server's ping.
func (c *lineClient) message() (rawFrame, error) {
	for {
		f, err := readFrame(c.r)
		if err != nil || f.op != opPing {
			return f, err
		}
		c.pings++
		c.Write(clientFrame(opPong, f.payload))
	}
}

// Five megabytes arrive over a slow line in the time that they take, in one message and in many.
func TestSlowLine(t *testing.T) {
	const total = 5_000_000
	for _, kb := range []int{8, 25, 64, 100} {
		for _, n := range []int{1, 50, 2500} {
			for _, still := range []time.Duration{0, 5 * time.Second} {
				t.Run(fmt.Sprintf("%d KBs in %d with stalls of %v", kb, n, still), func(t *testing.T) {
					s := shape{rate: kb * 1000, delay: 250 * time.Millisecond, buffer: 32 << 10}
					if still > 0 {
						s.every, s.still = time.Minute, still
					}
					inBubble(t, Options{}, func(t *testing.T, accept func(net.Conn), _ *control) {
						c, _ := dialLine(t, accept, s)
						began := time.Now()
						c.send(clientFrame(opText, fmt.Appendf(nil, `{"do":"burst","n":%d,"len":%d}`, n, total/n)))
						bytes := 0
						for range n {
							f, err := c.message()
							if err != nil || f.op != opText {
								t.Fatalf("after %v and %d bytes: %#x %.40q, %v", time.Since(began), bytes, f.op, f.payload, err)
							}
							bytes += len(f.payload)
						}
						wanted := time.Duration(bytes) * time.Second / time.Duration(s.rate)
						took := time.Since(began)
						if still > 0 {
							took -= (took/s.every + 1) * still
						}
						if took > wanted*11/10 {
							t.Errorf("it took %v and the stalls, and the line needs %v", took, wanted)
						}
						t.Logf("%d bytes in %v, the line needs %v; %d pings", bytes, took, wanted, c.pings)
					})
				})
			}
		}
	}
}

// A ping of the client's, its heart-beat and the server's pings overtake what waits.
func TestPingsOvertake(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, accept func(net.Conn), _ *control) {
		c, _ := dialLine(t, accept, shape{rate: 10_000, delay: 250 * time.Millisecond, buffer: 32 << 10})
		c.send(clientFrame(opText, []byte(`{"do":"burst","n":200,"len":10000}`))) // 200 s
		time.Sleep(5 * time.Second)
		c.send(clientFrame(opPing, []byte("there?")), clientFrame(opText, []byte(autoRequest)))
		began := time.Now()
		answers := ""
		for answers != "pong, answer" && time.Since(began) < 10*time.Second {
			switch f, err := c.message(); {
			case err != nil:
				t.Fatal(err)
			case f.op == opPong:
				answers += "pong"
			case string(f.payload) == autoResponse:
				answers += ", answer"
			}
		}
		if answers != "pong, answer" {
			t.Errorf("within %v came %q", time.Since(began), answers)
		}
		for time.Since(began) < 60*time.Second {
			if _, err := c.message(); err != nil {
				t.Fatal(err)
			}
		}
		if c.pings == 0 {
			t.Error("no ping of the server's overtook what waits")
		}
	})
}

// A line that is dead is noticed within 45 s, whatever goes on.
func TestDeadLine(t *testing.T) {
	for name, begin := range map[string]func(c *lineClient){
		"idle":       func(c *lineClient) {},
		"in a large": func(c *lineClient) { c.send(clientFrame(opText, []byte(`{"do":"burst","n":1,"len":5000000}`))) },
		"in many":    func(c *lineClient) { c.send(clientFrame(opText, []byte(`{"do":"burst","n":500,"len":10000}`))) },
	} {
		for _, after := range []time.Duration{time.Second, 29 * time.Second, 31 * time.Second, 100 * time.Second} {
			t.Run(fmt.Sprintf("%s after %v", name, after), func(t *testing.T) {
				inBubble(t, Options{}, func(t *testing.T, accept func(net.Conn), k *control) {
					c, cut := dialLine(t, accept, shape{rate: 25_000, delay: 250 * time.Millisecond, buffer: 32 << 10})
					begin(c)
					go func() { // ends with the connection
						for {
							if _, err := c.message(); err != nil {
								return
							}
						}
					}()
					time.Sleep(after)
					cut()
					began := time.Now()
					got := <-k.closed
					if got.Code != syncproto.CloseKeepaliveTimeout && got.Code != syncproto.CloseSlowConsumer {
						t.Errorf("the room was told %+v", got)
					}
					if took := time.Since(began); took > 45*time.Second {
						t.Errorf("it took %v", took)
					}
				})
			})
		}
	}
}

// What a room goes on to send to a dead line does not keep it alive, as long as buffers take it.
func TestDeadLineIsSentTo(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, accept func(net.Conn), k *control) {
		dead, cut := dialLine(t, accept, shape{rate: 100_000, delay: 50 * time.Millisecond, buffer: 1 << 20})
		alive, _ := dialLine(t, accept, shape{rate: 100_000, delay: 50 * time.Millisecond, buffer: 1 << 20})
		time.Sleep(time.Second)
		cut()
		began := time.Now()
		for len(k.closed) == 0 && time.Since(began) < time.Minute {
			alive.send(clientFrame(opText, []byte(`{"do":"burst","n":3,"len":300}`)))
			for range 3 {
				if f, err := alive.message(); err != nil || !strings.HasPrefix(string(f.payload), `{"n":`) {
					t.Fatalf("%#x %q, %v", f.op, f.payload, err)
				}
			}
			time.Sleep(time.Second)
		}
		<-k.closed
		if took := time.Since(began); took > 45*time.Second {
			t.Errorf("it took %v", took)
		}
		dead.Close()
	})
}
