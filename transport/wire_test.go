package transport

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client by hand, for what no decent client does.

type rawFrame struct {
	op      byte
	fin     bool
	payload []byte
}

func (f rawFrame) close() (code int, reason string) {
	if len(f.payload) < 2 {
		return closeNoStatus, ""
	}
	return int(binary.BigEndian.Uint16(f.payload)), string(f.payload[2:])
}

// readFrame reads a server's frame and fails if a server may not send it.
func readFrame(r *bufio.Reader) (rawFrame, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return rawFrame{}, err
	}
	f := rawFrame{op: head[0] & opcodeBits, fin: head[0]&finBit != 0}
	if head[0]&0x70 != 0 || head[1]&0x80 != 0 || !f.fin {
		return f, fmt.Errorf("header % x: reserved bits, a mask or no FIN", head)
	}
	size := uint64(head[1])
	switch size {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return f, err
		}
		size = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return f, err
		}
		size = binary.BigEndian.Uint64(b[:])
	}
	switch f.op {
	case 1, 2, opClose, opPing, 0xA:
	default:
		return f, fmt.Errorf("opcode %#x", f.op)
	}
	if size > 1<<30 {
		return f, fmt.Errorf("a frame of %d bytes", size)
	}
	f.payload = make([]byte, size)
	_, err := io.ReadFull(r, f.payload)
	return f, err
}

// clientFrame makes a frame of a client's.
func clientFrame(op byte, payload []byte) []byte {
	return clientHeader(finBit|op, len(payload), payload, [4]byte{1, 2, 3, 4})
}

func clientHeader(first byte, announced int, payload []byte, mask [4]byte) []byte {
	b := []byte{first}
	switch {
	case announced < 126:
		b = append(b, 0x80|byte(announced))
	case announced < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(announced))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(announced))
	}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

type rawClient struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// rawDial opens a TCP connection that ends with the test.
func rawDial(t testing.TB, addr string) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(3 * patience)) // many bytes may be meant by it
	return &rawClient{conn, t, bufio.NewReader(conn)}
}

func (c *rawClient) send(b ...[]byte) {
	c.t.Helper()
	for _, one := range b {
		if _, err := c.Write(one); err != nil {
			c.t.Fatalf("write: %v", err)
		}
	}
}

const handshakeKey = "dGhlIHNhbXBsZSBub25jZQ=="

// upgrade makes the handshake, with header lines instead of the usual ones where
// they are given.
func (c *rawClient) upgrade(path string, lines ...string) {
	c.t.Helper()
	if status := c.handshake(path, lines...).StatusCode; status != http.StatusSwitchingProtocols {
		c.t.Fatalf("handshake: status %d", status)
	}
}

func (c *rawClient) handshake(path string, lines ...string) *http.Response {
	c.t.Helper()
	c.send([]byte(handshakeText(path, lines...)))
	resp, err := http.ReadResponse(c.r, &http.Request{Method: "GET"})
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func handshakeText(path string, lines ...string) string {
	if len(lines) == 0 {
		lines = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + handshakeKey}
	}
	return "GET " + path + " HTTP/1.1\r\nHost: den.example\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func (c *rawClient) frame() rawFrame {
	c.t.Helper()
	f, err := readFrame(c.r)
	if err != nil {
		c.t.Fatalf("reading a frame: %v", err)
	}
	return f
}

// expectClose reads on until the close frame, and wants nothing after it but the
// end of the connection.
func (c *rawClient) expectClose(code int, reason string) {
	c.t.Helper()
	for {
		f := c.frame()
		if f.op != opClose {
			continue
		}
		gotCode, gotReason := f.close()
		if gotCode != code || gotReason != reason {
			c.t.Fatalf("closed with %d %q, want %d %q", gotCode, gotReason, code, reason)
		}
		break
	}
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("behind the close frame: %d bytes, %v", len(rest), err)
	}
}
