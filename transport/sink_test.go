package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

// The far end of the benchmarks: a process of its own, so that what reading costs
// is not counted as the server's.

const sinkVariable = "DEN_TRANSPORT_SINK"

// sink obeys lines: "dial ADDR N PATH" opens N sockets, with a handshake where PATH
// is not "-", and answers "ok"; "wait BYTES" answers "ok" when all of them
// together have received so many bytes more. It ends with its input.
func sink(in io.Reader, out io.Writer) int {
	var total, target atomic.Int64
	reached := make(chan struct{}, 1)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var addr, path string
		var n int64
		if _, err := fmt.Sscanf(lines.Text(), "wait %d", &n); err == nil {
			if target.Add(n) <= total.Load() {
				select {
				case reached <- struct{}{}:
				default:
				}
			}
			for total.Load() < target.Load() {
				<-reached
			}
			fmt.Fprintln(out, "ok")
			continue
		}
		if _, err := fmt.Sscanf(lines.Text(), "dial %s %d %s", &addr, &n, &path); err != nil {
			fmt.Fprintln(out, "what?", lines.Text())
			return 1
		}
		for range n {
			conn, err := sinkDial(addr, path)
			if err != nil {
				fmt.Fprintln(out, err)
				return 1
			}
			go func() { // ends with the process
				buf := make([]byte, 4096)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if now := total.Add(int64(n)); now >= target.Load() {
						select {
						case reached <- struct{}{}:
						default:
						}
					}
				}
			}()
		}
		fmt.Fprintln(out, "ok")
	}
	return 0
}

// sinkDial opens a socket; a handshake's answer is read to its end.
func sinkDial(addr, path string) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil || path == "-" {
		return conn, err
	}
	if _, err := io.WriteString(conn, handshakeText(path)); err != nil {
		return nil, err
	}
	var answer []byte
	for !bytes.HasSuffix(answer, []byte("\r\n\r\n")) {
		b := make([]byte, 1)
		if _, err := conn.Read(b); err != nil {
			return nil, err
		}
		answer = append(answer, b...)
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) {
		return nil, fmt.Errorf("handshake: %s", answer)
	}
	return conn, nil
}

type sinkProcess struct {
	b    *testing.B
	in   io.Writer
	pipe io.Reader
	out  *bufio.Reader
}

// startSink starts the far end; it ends with the benchmark.
func startSink(b *testing.B) *sinkProcess {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); cmd.Wait() })
	return &sinkProcess{b, in, out, bufio.NewReader(out)}
}

func (s *sinkProcess) order(format string, args ...any) {
	s.b.Helper()
	fmt.Fprintf(s.in, format+"\n", args...)
	if pipe, ok := s.pipe.(*os.File); ok {
		pipe.SetReadDeadline(time.Now().Add(patience))
	}
	if answer, err := s.out.ReadString('\n'); err != nil || answer != "ok\n" {
		s.b.Fatalf("the far end says %q, %v", answer, err)
	}
}
