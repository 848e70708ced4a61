package main

// The server's side, in a process of its own, so that what it needs can be told from what the clients need.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/transport"
)

// stopTime is how long the server may take to stop.
const stopTime = time.Minute

// A job is what the server is told, as JSON in its environment.
type job struct {
	Dir     string
	Idle    time.Duration
	Sockets int // as many must fit beside the rooms' files
}

// addresses is the one line that the server prints, as JSON, when it listens.
type addresses struct{ Rooms, Figures string }

// figures is what only the server's process knows.
type figures struct {
	Goroutines  int
	Heap        uint64 // bytes in objects, dead ones among them until they are swept
	Awake       int    // rooms
	Connections int
	Lives       int64 // that rooms have begun
}

// serverMain serves until its standard input ends, which it does when the parent closes it or is gone.
func serverMain(text string) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // they are for the parent, which stops this process in good order
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = serve(j, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak: server:", err)
		return 1
	}
	return 0
}

func serve(j job, in io.Reader, out io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	host, err := room.Open(room.Options{Dir: j.Dir, IdleAfter: j.Idle, Logger: log})
	if err != nil {
		return err
	}
	if limit, rooms := host.Descriptors(); limit > 0 && rooms+j.Sockets > limit {
		return fmt.Errorf("%d sockets and %d descriptors for rooms are more than the %d that a process may have (ulimit -n): take fewer -sockets", j.Sockets, rooms, limit)
	}
	var lives atomic.Int64
	create := func() room.Handler { lives.Add(1); return new(todo.Room) }
	if err := host.Register(todo.Namespace, create, todo.Options()...); err != nil {
		return err
	}
	lives.Store(0) // Register made one to look at
	rooms, err := transport.NewHandler(host, transport.Options{Logger: log})
	if err != nil {
		return err
	}
	main, err := listen(rooms)
	if err != nil {
		return err
	}
	beside, err := listen(figuresOf(host, &lives))
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(addresses{Rooms: main.Addr, Figures: beside.Addr}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		log.Warn("standard input", "err", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return errors.Join(rooms.Shutdown(ctx), main.Shutdown(ctx), beside.Close())
}

// listen serves h on a loopback port, which Addr of what it returns names.
func listen(h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Addr: l.Addr().String(), Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	go s.Serve(l) // ends with Shutdown or Close
	return s, nil
}

func figuresOf(host *room.Host, lives *atomic.Int64) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(heap)
		json.NewEncoder(w).Encode(figures{ // a reader that has gone needs none
			Goroutines:  runtime.NumGoroutine(),
			Heap:        heap[0].Value.Uint64(),
			Awake:       host.Awake(),
			Connections: host.Connections(),
			Lives:       lives.Load(),
		})
	}
}
