package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/room"
	"github.com/denrooms/den/transport"
)

// shutdownTime is how long a stop may take before connections are cut off.
const shutdownTime = 30 * time.Second

// A server is a host with its listeners and HTTP servers.
type server struct {
	log      *slog.Logger
	host     *room.Host
	rooms    *transport.Handler
	listener net.Listener
	http     *http.Server
	socket   net.Listener // for operators; nil if it could not be opened
	admin    *http.Server
}

// newServer opens the data directory and the address. If it fails, it leaves nothing open.
func newServer(c config, log *slog.Logger) (_ *server, err error) {
	s := &server{log: log}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	if s.host, err = room.Open(room.Options{Dir: c.data, Durability: c.durability, IdleAfter: c.idle, MaxAwake: c.awake, Memory: c.memory, ScrubEvery: c.scrub, Logger: log}); err != nil {
		return nil, err
	}
	if err := todo.Register(s.host); err != nil {
		return nil, err
	}
	if s.socket, err = listenAdmin(c.data); err != nil {
		log.Warn("the commands for operators cannot reach this server", "err", err)
	}
	s.admin = newAdmin(s.host, log)
	s.rooms, err = transport.NewHandler(s.host, transport.Options{
		Origins:        c.origins,
		Hosts:          c.hosts,
		TrustedProxies: c.proxies,
		Next:           todo.Page(),
		Logger:         log,
	})
	if err != nil {
		return nil, err
	}
	if s.listener, err = net.Listen("tcp", c.addr); err != nil {
		return nil, fmt.Errorf("%w (another address: -addr or DEN_ADDR)", err)
	}
	s.http = &http.Server{
		Handler:           s.rooms,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("listening", "url", "http://"+s.listener.Addr().String(), "data", c.data, "memory", s.host.MemoryLimit(), "version", version())
	return s, nil
}

// run serves until ctx ends. Then it stops in good order: rooms finish their work, sockets get
// their last replies and a close with 1001, and databases are closed.
func (s *server) run(ctx context.Context) error {
	failed := make(chan error, 1)
	go func() { failed <- s.http.Serve(s.listener) }() // ends with Shutdown or Close
	if s.socket != nil {
		go s.admin.Serve(s.socket) // ends with Close
	}
	defer s.admin.Close()
	select {
	case err := <-failed:
		s.abandon()
		return err
	case <-ctx.Done():
	}
	s.log.Info("stopping")
	stop, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	err := s.rooms.Shutdown(stop)
	if httpErr := s.http.Shutdown(stop); httpErr != nil {
		s.http.Close()
		err = errors.Join(err, httpErr)
	}
	if err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	s.log.Info("stopped")
	return nil
}

// abandon closes what was opened, without waiting for clients.
func (s *server) abandon() {
	if s.listener != nil {
		s.listener.Close()
	}
	if s.socket != nil {
		s.socket.Close()
	}
	if s.host != nil {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		if err := s.host.Shutdown(ctx); err != nil {
			s.log.Error("closing the data directory", "err", err)
		}
	}
}
