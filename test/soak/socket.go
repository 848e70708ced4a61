package main

// A WebSocket client that costs little: one goroutine and no buffer but for what is on its way. It reads strictly, for it
// is a check of the server as well.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	opContinuation = 0x0
	opText         = 0x1
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	dialTime  = 20 * time.Second
	writeTime = 20 * time.Second
	maxFrame  = 16 << 20 // bytes of a frame of the server, and of a message

	closeNormal = 1000
	closeNoCode = 1005 // stands for a close frame without a code (RFC 6455, section 7.1.5)
)

// errQuiet: nothing has come until the time that was given. The socket is as it was.
var errQuiet = errors.New("nothing has come")

// A closedError is a close frame of the server.
type closedError struct {
	code   int
	reason string
}

func (e *closedError) Error() string { return fmt.Sprintf("closed with %d %q", e.code, e.reason) }

// A socket belongs to one goroutine, but for hangUp.
type socket struct {
	conn    net.Conn
	rng     *rand.Rand
	in      []byte // what has been read; its first taken bytes have been given out
	taken   int
	message []byte // the fragments of a message that is not whole yet
	partial bool   // there are such
}

// dial opens a socket at a path of the server at address.
func dial(ctx context.Context, address, path string, rng *rand.Rand) (*socket, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	s := &socket{conn: conn, rng: rng}
	if err := s.shakeHands(address, path); err != nil {
		conn.Close()
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return s, nil
}

func (s *socket) shakeHands(address, path string) error {
	var nonce [16]byte
	binary.LittleEndian.PutUint64(nonce[:8], s.rng.Uint64())
	binary.LittleEndian.PutUint64(nonce[8:], s.rng.Uint64())
	key := base64.StdEncoding.EncodeToString(nonce[:])
	_, err := fmt.Fprintf(s.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, address, key)
	if err != nil {
		return err
	}
	reader := bufio.NewReaderSize(s.conn, 1024)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	want := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(want[:]) {
		return fmt.Errorf("handshake: %s", answer.Status)
	}
	early, err := reader.Peek(reader.Buffered()) // frames that came with the answer
	s.in = bytes.Clone(early)
	return err
}

// next gives the next message, and answers pings on the way. What it gives is valid until the next call. Behind any
// error but errQuiet the socket is of no use.
func (s *socket) next(until time.Time) ([]byte, error) {
	if err := s.conn.SetReadDeadline(until); err != nil {
		return nil, err
	}
	for {
		op, final, payload, whole, err := s.frame()
		if err != nil {
			return nil, err
		}
		if !whole {
			if err := s.fill(); errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, errQuiet
			} else if err != nil {
				return nil, err
			}
			continue
		}
		message, err := s.sort(op, final, payload)
		if message != nil || err != nil {
			return message, err
		}
	}
}

// sort does what a frame asks for, and gives the message that it completes, if it does.
func (s *socket) sort(op byte, final bool, payload []byte) ([]byte, error) {
	switch op {
	case opPong:
		return nil, nil
	case opPing:
		return nil, s.write(opPong, payload)
	case opClose:
		return nil, s.closed(payload)
	case opText, opContinuation:
		if (op == opContinuation) != s.partial {
			return nil, errors.New("a fragment out of place")
		}
	default:
		return nil, fmt.Errorf("a frame of type %d", op)
	}
	if op == opText && final {
		return payload, nil
	}
	if len(s.message)+len(payload) > maxFrame {
		return nil, fmt.Errorf("a message of over %d bytes", maxFrame)
	}
	s.message, s.partial = append(s.message, payload...), !final
	if !final {
		return nil, nil
	}
	message := s.message
	s.message = nil
	return message, nil
}

// closed answers a close frame.
func (s *socket) closed(payload []byte) error {
	e := &closedError{code: closeNoCode}
	if len(payload) >= 2 {
		e.code, e.reason = int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	}
	return errors.Join(e, s.write(opClose, payload))
}

// frame takes a frame from what has been read, if it is there whole.
func (s *socket) frame() (op byte, final bool, payload []byte, whole bool, err error) {
	in := s.in[s.taken:]
	if len(in) < 2 {
		return 0, false, nil, false, nil
	}
	op, final = in[0]&0x0F, in[0]&0x80 != 0
	switch {
	case in[0]&0x70 != 0:
		return 0, false, nil, false, errors.New("a frame with reserved bits")
	case in[1]&0x80 != 0:
		return 0, false, nil, false, errors.New("a masked frame")
	case op >= opClose && (!final || in[1] > 125):
		return 0, false, nil, false, errors.New("a control frame that is long or a fragment")
	}
	size, head := uint64(in[1]), 2
	switch size {
	case 126:
		head = 4
	case 127:
		head = 10
	}
	if len(in) < head {
		return 0, false, nil, false, nil
	}
	switch head {
	case 4:
		size = uint64(binary.BigEndian.Uint16(in[2:]))
	case 10:
		size = binary.BigEndian.Uint64(in[2:])
	}
	if size > maxFrame {
		return 0, false, nil, false, fmt.Errorf("a frame of %d bytes", size)
	}
	end := head + int(size)
	if len(in) < end {
		return 0, false, nil, false, nil
	}
	s.taken += end
	return op, final, in[head:end:end], true, nil
}

// fill reads what is there, over what has been given out.
func (s *socket) fill() error {
	s.in = append(s.in[:0], s.in[s.taken:]...)
	s.taken = 0
	if cap(s.in)-len(s.in) < 512 {
		s.in = append(make([]byte, 0, 2*cap(s.in)+1024), s.in...)
	}
	n, err := s.conn.Read(s.in[len(s.in):cap(s.in)])
	s.in = s.in[:len(s.in)+n]
	if n > 0 {
		return nil
	}
	return err
}

// write sends a frame.
func (s *socket) write(op byte, payload []byte) error {
	frame := append(make([]byte, 0, 14+len(payload)), 0x80|op)
	switch n := len(payload); {
	case n <= 125:
		frame = append(frame, 0x80|byte(n))
	case n <= 0xFFFF:
		frame = binary.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 0x80|127), uint64(n))
	}
	mask := binary.LittleEndian.AppendUint32(nil, s.rng.Uint32())
	frame = append(frame, mask...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	_, err := s.conn.Write(frame)
	return err
}

// leave says goodbye, and reads until the server has closed.
func (s *socket) leave() error {
	defer s.hangUp()
	if err := s.write(opClose, binary.BigEndian.AppendUint16(nil, closeNormal)); err != nil {
		return err
	}
	until := time.Now().Add(dialTime)
	for {
		_, err := s.next(until)
		var closed *closedError
		switch {
		case err == nil: // what was on its way
		case errors.As(err, &closed) && closed.code == closeNormal:
			return nil
		case errors.Is(err, errQuiet):
			return errors.New("a close that was not answered")
		default:
			return err
		}
	}
}

// hangUp ends the TCP connection. It is safe from any goroutine.
func (s *socket) hangUp() { s.conn.Close() }
