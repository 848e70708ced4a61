package main

// How the commands for operators reach a host: by HTTP over a Unix socket in the data
// directory, which only its owner may open. If no server runs, the same HTTP goes over a
// pipe within the process.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/denrooms/den/fixtures/todo"
	"github.com/denrooms/den/internal/inner"
	"github.com/denrooms/den/room"
)

// socketName is the socket's name in the data directory.
const socketName = "den.sock"

// errorTrailer is the trailer with an error that occurred after a part of the answer had been sent. A client
// accepts 4 KiB of trailers.
const errorTrailer = "Den-Error"

// listenAdmin opens the socket. Because the directory is locked, an existing socket belongs to a
// process that has ended.
func listenAdmin(data string) (net.Listener, error) {
	path := filepath.Join(data, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// newAdmin returns the server that answers operators. Its Serve ends with Close.
func newAdmin(host *room.Host, log *slog.Logger) *http.Server {
	a := admin{host}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /rooms", a.rooms)
	mux.HandleFunc("GET /alarms", a.alarms)
	mux.HandleFunc("POST /alarms", a.rebuild)
	mux.HandleFunc("GET /backup", a.backup)
	mux.HandleFunc("GET /export", a.export)
	mux.HandleFunc("POST /restore", a.restore)
	mux.HandleFunc("POST /rewind", a.rewind)
	mux.HandleFunc("POST /import", a.load)
	mux.HandleFunc("POST /compact", a.compact)
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
}

type admin struct{ host *room.Host }

func keyOf(r *http.Request) room.Key {
	q := r.URL.Query()
	return room.Key{Namespace: q.Get("namespace"), Room: q.Get("room")}
}

// pointOf reads the point in history of a request. there is false if it has none.
func pointOf(r *http.Request) (p room.Point, there bool, err error) {
	if text := r.URL.Query().Get("seq"); text != "" {
		there = true
		seq, parseErr := strconv.ParseUint(text, 10, 63)
		if parseErr != nil || seq == 0 {
			err = badSeq(text)
		}
		p.Seq = room.Seq(seq)
	}
	if text := r.URL.Query().Get("at"); text != "" {
		there = true
		if p.Time, err = time.Parse(time.RFC3339, text); err != nil {
			err = fmt.Errorf("the time %q: want a form like 2026-11-20T10:00:00Z", text)
		}
	}
	return p, there, err
}

// badSeq returns the error for a text that is not a seq. For a client's cursor it says which seq that is.
func badSeq(text string) error {
	_, last, _ := strings.Cut(text, ".")
	if seq, err := strconv.ParseUint(last, 36, 63); err == nil && seq > 0 {
		return fmt.Errorf("the seq %q: want a number from 1; if that is a client's cursor, its seq is %d", text, seq)
	}
	return fmt.Errorf("the seq %q: want a number from 1", text)
}

func (a admin) backup(w http.ResponseWriter, r *http.Request) {
	at, rewound, err := pointOf(r)
	if err != nil {
		refuse(w, err)
		return
	}
	path, err := inner.OfHost(a.host).ScratchFile()
	if err == nil && rewound {
		err = a.host.StateAt(r.Context(), keyOf(r), at, path)
	} else if err == nil {
		err = a.host.Backup(r.Context(), keyOf(r), path)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer os.Remove(path)
	http.ServeFile(w, r, path)
}

func (a admin) export(w http.ResponseWriter, r *http.Request) {
	format := room.SQLFormat
	if r.URL.Query().Get("format") == room.LinesFormat.String() {
		format = room.LinesFormat
	}
	w.Header().Set("Trailer", errorTrailer)
	out := &started{w: w}
	err := a.host.Export(r.Context(), keyOf(r), out, format)
	switch {
	case err != nil && !out.begun:
		w.Header().Del("Trailer")
		refuse(w, err)
	case err != nil:
		w.Header().Set(errorTrailer, oneLine(err))
	}
}

// started knows whether anything has been written.
type started struct {
	w     io.Writer
	begun bool
}

func (s *started) Write(p []byte) (int, error) {
	s.begun = true
	return s.w.Write(p)
}

func (a admin) restore(w http.ResponseWriter, r *http.Request) {
	path, err := inner.OfHost(a.host).ScratchFile()
	if err == nil {
		defer os.Remove(path)
		err = receive(path, r.Body)
	}
	kept := ""
	if err == nil {
		kept, err = a.host.Restore(r.Context(), keyOf(r), path)
	}
	a.answerKept(w, r, kept, err)
}

// rewind restores a room to an earlier state of its own.
func (a admin) rewind(w http.ResponseWriter, r *http.Request) {
	at, there, err := pointOf(r)
	if err == nil && !there {
		err = errors.New("the request has no point in time to go back to")
	}
	path := ""
	if err == nil {
		path, err = inner.OfHost(a.host).ScratchFile()
	}
	if err == nil {
		err = a.host.StateAt(r.Context(), keyOf(r), at, path)
	}
	kept := ""
	if err == nil {
		defer os.Remove(path)
		kept, err = a.host.Restore(r.Context(), keyOf(r), path)
	}
	a.answerKept(w, r, kept, err)
}

// load imports a room.
func (a admin) load(w http.ResponseWriter, r *http.Request) {
	kept, err := "", error(nil)
	if r.URL.Query().Get("replace") != "" {
		kept, err = a.host.ImportOver(r.Context(), keyOf(r), r.Body)
	} else {
		err = a.host.Import(r.Context(), keyOf(r), r.Body)
	}
	a.answerKept(w, r, kept, err)
}

func receive(path string, from io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// answerKept answers where the replaced file is kept, and notes if nobody can reach the room.
func (a admin) answerKept(w http.ResponseWriter, r *http.Request, kept string, err error) {
	if err != nil {
		refuse(w, err)
		return
	}
	answer := map[string]string{"kept": kept}
	if namespace := keyOf(r).Namespace; !a.serves(namespace) {
		answer["note"] = fmt.Sprintf("this den does not serve the namespace %s: nobody reaches the room until a program does", namespace)
	}
	json.NewEncoder(w).Encode(answer) // an error means that the client is gone
}

// serves reports whether a namespace is known. A server has registered its namespaces. Without a server none is
// registered, and those of the example rooms are known.
func (a admin) serves(namespace string) bool {
	return a.host.HasNamespace(namespace) || len(a.host.Namespaces()) == 0 && namespace == todo.Namespace
}

// refuse answers with an error. Operators may see all of it.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, room.ErrNoRoom):
		status = http.StatusNotFound
	case errors.Is(err, room.ErrRoomExists):
		status = http.StatusConflict
	}
	http.Error(w, err.Error(), status)
}

// oneLine returns an error in a form that fits into a trailer.
func oneLine(err error) string {
	const most = 2 << 10
	text := strconv.QuoteToASCII(err.Error())
	return text[:min(len(text), most)]
}

// An operator is the client side of the commands: HTTP to a running server, or within the process.
type operator struct {
	client *http.Client
	close  func() error
}

// connect connects to the server of a data directory. If none runs, it opens the directory itself and
// calls prepare with the host. This program need not know the namespaces.
func connect(ctx context.Context, data string, prepare func(*room.Host) error) (*operator, error) {
	path := filepath.Join(data, socketName)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	if conn, err := dial(ctx, "", ""); err == nil {
		conn.Close()
		return newOperator(dial, func() error { return nil }), nil
	}
	if _, err := os.Stat(data); err != nil {
		return nil, fmt.Errorf("the data directory: %w (another one: -data or DEN_DATA)", err)
	}
	quiet := slog.New(slog.DiscardHandler)
	host, err := room.Open(room.Options{Dir: data, Logger: quiet, AlarmRooms: -1, ScrubEvery: -1})
	if err != nil {
		return nil, fmt.Errorf("%w (no server answers at %s)", err, path)
	}
	if err := prepare(host); err != nil {
		return nil, errors.Join(err, host.Shutdown(ctx))
	}
	pipe := newPipe()
	server := newAdmin(host, quiet)
	go server.Serve(pipe) // ends with the server's Close
	return newOperator(pipe.dial, func() error {
		server.Close()
		stop, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		return host.Shutdown(stop)
	}), nil
}

func newOperator(dial func(context.Context, string, string) (net.Conn, error), end func() error) *operator {
	transport := &http.Transport{DialContext: dial, DisableCompression: true}
	return &operator{&http.Client{Transport: transport}, func() error { transport.CloseIdleConnections(); return end() }}
}

// A pipe is a listener within the process.
type pipe struct {
	conns chan net.Conn // sent by dial, received by Accept; never closed
	ended chan struct{} // closed by Close
}

func newPipe() *pipe { return &pipe{make(chan net.Conn), make(chan struct{})} }

func (p *pipe) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.ended:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements net.Listener.
func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The server calls it once.
func (p *pipe) Close() error { close(p.ended); return nil }

// Addr implements net.Listener.
func (p *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "within the process", Net: "unix"} }

// call sends a request and returns the answer. An answer with another status than 200 becomes an error.
func (o *operator) call(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://den"+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}
	res, err := o.client.Do(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	return nil, &refusal{res.StatusCode, string(text)}
}

// A refusal is an error that the host returned.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return trimmed(r.text) + hints[r.status] }

// hints say what an operator can do, by status.
var hints = map[int]string{
	http.StatusNotFound: " (den rooms lists the rooms)",
	http.StatusConflict: " (-replace puts the import in its place)",
}
