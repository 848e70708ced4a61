package edges

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// A line is a WebSocket on which anything can be written: RFC 6455 by hand, with a mask of zeros, so that a frame's bytes
// are what they seem.
type line struct {
	net.Conn
	in *bufio.Reader
}

const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xa
	final   = 0x80

	// mostPatience is how long a hostile client waits for anything.
	mostPatience = 2 * time.Second
)

// dial connects to a path. An answer that is no upgrade is an error.
func dial(address, path string, header http.Header) (*line, error) {
	conn, err := net.DialTimeout("tcp", address, mostPatience)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(4 * mostPatience)) // fails where the connection has ended, and so does what follows
	text := "GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	for name, values := range header {
		for _, v := range values {
			text += name + ": " + v + "\r\n"
		}
	}
	l := &line{conn, bufio.NewReader(conn)}
	if _, err := conn.Write([]byte(text + "\r\n")); err != nil {
		conn.Close()
		return nil, err
	}
	r, err := http.ReadResponse(l.in, nil)
	if err == nil && r.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("upgrade: %s", r.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return l, nil
}

// frame is a masked frame; length is what its header says, which need not be true.
func frame(first byte, data []byte, length int) []byte {
	b := []byte{first}
	switch {
	case length < 126:
		b = append(b, 0x80|byte(length))
	case length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(length))
	}
	return append(append(b, 0, 0, 0, 0), data...)
}

// text is a text message's frame.
func text(format string, args ...any) []byte {
	data := fmt.Appendf(nil, format, args...)
	return frame(final|opText, data, len(data))
}

// inPieces writes bytes some at a time.
func (l *line) inPieces(b []byte, rng *rand.Rand) error {
	for len(b) > 0 {
		n := 1 + rng.IntN(len(b))
		if _, err := l.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// drain reads what comes until nothing has come for a while, the line ends, or there was more than most.
func (l *line) drain(quiet time.Duration, most int) {
	b := make([]byte, 32<<10)
	for most > 0 {
		_ = l.SetReadDeadline(time.Now().Add(quiet))
		n, err := l.in.Read(b)
		if err != nil {
			return
		}
		most -= n
	}
}
