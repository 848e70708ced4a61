package main

// The commands for operators: their arguments and output.

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/denrooms/den/room"
)

// A task is one of the commands that work on rooms.
type task struct {
	data, format, at, seq string
	force, replace        bool
	rebuild               bool
	all, json             bool // of compact

	output io.Writer // for the command's result
	notes  io.Writer // for everything else
}

// taskUsage has the usage of each command, with examples.
var taskUsage = map[string]string{
	"rooms":   "rooms [-data DIR]\n\n  Lists the rooms, names percent-encoded.\n",
	"alarms":  "alarms [-data DIR] [-rebuild]\n\n  Lists the rooms' alarms: room, name, time of the next run, number of the try, cron expression and zone.\n",
	"backup":  "backup [-data DIR] [-force] [-at TIME | -seq N] NAMESPACE/ROOM FILE\n\n  den backup todos/kitchen kitchen.db\n  den backup -at 2026-11-20T10:00:00Z todos/kitchen as-it-was.db\n",
	"restore": "restore [-data DIR] NAMESPACE/ROOM FILE\n       den restore [-data DIR] -at TIME | -seq N NAMESPACE/ROOM\n\n  den restore todos/kitchen kitchen.db\n  den restore -at 2026-11-20T10:00:00Z todos/kitchen\n",
	"export":  "export [-data DIR] [-force] [-format sql|jsonl] NAMESPACE/ROOM [FILE]\n\n  den export todos/kitchen | sqlite3 kitchen-copy.db\n  den export -format jsonl todos/kitchen kitchen.jsonl\n",
	"compact": "compact [-data DIR] [-json] NAMESPACE/ROOM | NAMESPACE | -all\n\n  Writes a room's file again without its free pages. With a namespace or -all, does so for the files of which more than half\n  and more than 1 MiB is free. A server does that by itself when such a room sleeps.\n\n  den compact todos/kitchen\n  den compact -json -all\n",
	"import":  "import [-data DIR] [-replace] NAMESPACE/ROOM [FILE]\n\n  den import todos/kitchen kitchen.jsonl\n",
}

// runTask runs the command name. Rooms' names in args are percent-encoded, as in a URL.
func runTask(ctx context.Context, name string, args []string, getenv func(string) string) error {
	t := &task{output: os.Stdout, notes: os.Stderr}
	rest, err := t.parse(name, args, getenv)
	if err != nil {
		return err
	}
	o, err := connect(ctx, t.data, func(host *room.Host) error {
		if name != "rooms" && name != "alarms" && name != "compact" {
			return nil // the command works only on files and needs no namespaces
		}
		return registerAll(host, t.data)
	})
	if err != nil {
		return err
	}
	return errors.Join(t.do(ctx, o, name, rest), o.close())
}

func (t *task) parse(name string, args []string, getenv func(string) string) (rest []string, err error) {
	flags := flag.NewFlagSet("den "+name, flag.ContinueOnError)
	flags.SetOutput(t.notes)
	data := getenv("DEN_DATA")
	if data == "" {
		data = "data"
	}
	flags.StringVar(&t.data, "data", data, "`directory` of the rooms' databases (DEN_DATA); if a server runs there, it does the work")
	most := map[string]int{"rooms": 0, "alarms": 0, "backup": 2, "restore": 2, "export": 2, "import": 2, "compact": 1}[name]
	switch name {
	case "backup", "export":
		flags.BoolVar(&t.force, "force", false, "overwrite an existing FILE")
	case "compact":
		flags.BoolVar(&t.all, "all", false, "all rooms with enough free space")
		flags.BoolVar(&t.json, "json", false, "print a JSON object for each room")
	case "alarms":
		flags.BoolVar(&t.rebuild, "rebuild", false, "first make the index of alarms again from the rooms' files")
	case "import":
		flags.BoolVar(&t.replace, "replace", false, "replace an existing room; the old file is kept")
	}
	if name == "export" {
		flags.StringVar(&t.format, "format", "sql", "sql or jsonl")
	}
	if name == "backup" || name == "restore" {
		flags.StringVar(&t.at, "at", "", "the room as it was at a `time` like 2026-11-20T10:00:00Z")
		flags.StringVar(&t.seq, "seq", "", "the room as it was after its commit `number`")
	}
	flags.Usage = func() {
		fmt.Fprintf(t.notes, "Usage: den %s\n", taskUsage[name])
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if err := t.checkPoint(flags); err != nil {
		return nil, err
	}
	least := most
	if name == "export" || name == "import" || name == "restore" && t.at+t.seq != "" {
		least = 1
	}
	if name == "compact" {
		least = 0
	}
	if name == "restore" && t.at+t.seq != "" {
		most = 1
	}
	if n := flags.NArg(); n < least || n > most {
		return nil, fmt.Errorf("usage: den %s", strings.TrimSpace(strings.SplitN(taskUsage[name], "\n\n", 2)[0]))
	}
	for _, arg := range flags.Args() {
		if arg == "" {
			return nil, fmt.Errorf("an argument is empty; usage: den %s", strings.TrimSpace(strings.SplitN(taskUsage[name], "\n\n", 2)[0]))
		}
	}
	if t.format != "" && t.format != "sql" && t.format != "jsonl" {
		return nil, fmt.Errorf("-format %q: want sql or jsonl", t.format)
	}
	return flags.Args(), nil
}

// checkPoint refuses two points in the history. It also refuses an empty one, which a script passes if its variable is
// not set.
func (t *task) checkPoint(flags *flag.FlagSet) error {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case given["at"] && given["seq"]:
		return errors.New("-at and -seq: give one of them")
	case given["at"] && t.at == "":
		return errors.New("-at is empty: want a time like 2026-11-20T10:00:00Z")
	case given["seq"] && t.seq == "":
		return errors.New("-seq is empty: want a number from 1")
	}
	return nil
}

func (t *task) do(ctx context.Context, o *operator, name string, args []string) error {
	if name == "compact" {
		return t.compact(ctx, o, strings.Join(args, ""))
	}
	query := url.Values{}
	if len(args) > 0 {
		key, err := parseKey(args[0])
		if err != nil {
			return err
		}
		query.Set("namespace", key.Namespace)
		query.Set("room", key.Room)
		args = args[1:]
	}
	for name, value := range map[string]string{"at": t.at, "seq": t.seq, "format": t.format} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if t.replace {
		query.Set("replace", "yes")
	}
	switch {
	case name == "alarms":
		return t.listAlarms(ctx, o, query)
	case name == "rooms":
		return t.list(ctx, o, http.MethodGet, "/rooms", query, t.output)
	case name == "backup" || name == "export" && len(args) > 0:
		return t.fetchFile(ctx, o, "/"+name, query, args[0])
	case name == "export":
		return t.fetch(ctx, o, "/export", query, t.output)
	case name == "restore" && len(args) == 0:
		return t.send(ctx, o, "/rewind", query, "")
	case len(args) == 0:
		return t.send(ctx, o, "/"+name, query, "-")
	}
	return t.send(ctx, o, "/"+name, query, args[0])
}

// parseKey reads a room's key.
func parseKey(text string) (room.Key, error) {
	namespace, name, found := strings.Cut(text, "/")
	name, err := url.PathUnescape(name)
	if !found || err != nil || namespace == "" || name == "" {
		return room.Key{}, fmt.Errorf("the room %q: want namespace/room, the room percent-encoded like in a URL", text)
	}
	return room.Key{Namespace: namespace, Room: name}, nil
}

// fetch copies the answer to a request.
func (t *task) fetch(ctx context.Context, o *operator, path string, query url.Values, to io.Writer) error {
	res, err := o.call(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	p := &progress{notes: t.notes, of: res.ContentLength}
	if _, err := io.Copy(io.MultiWriter(to, p), res.Body); err != nil {
		return err
	}
	p.end()
	if text := res.Trailer.Get(errorTrailer); text != "" {
		return errors.New(text)
	}
	return nil
}

// fetchFile writes an answer into a file, which appears whole and synced or not at all. If several commands
// write the same file at the same time, one succeeds.
func (t *task) fetchFile(ctx context.Context, o *operator, path string, query url.Values, file string) error {
	file = filepath.Clean(file)
	if err := room.Outside(t.data, file); err != nil {
		return err
	}
	switch info, err := os.Lstat(file); {
	case err == nil && !info.Mode().IsRegular(): // otherwise a device would be replaced by a file
		return fmt.Errorf("%s: %w and is not a regular file", file, fs.ErrExist)
	case err == nil && !t.force:
		return exists(file)
	}
	if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: the directory %s does not exist; make it first", file, filepath.Dir(file))
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*") // only its owner may read it
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = t.fetch(ctx, o, path, query, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := t.publish(f.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func exists(file string) error {
	return fmt.Errorf("%s: %w (-force writes over it)", file, fs.ErrExist)
}

// publish gives a file its name. Without -force it fails if the name is taken.
func (t *task) publish(temp, file string) error {
	if t.force {
		return os.Rename(temp, file)
	}
	err := os.Link(temp, file)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return exists(file)
	}
	// The file system has no links. Two commands at the same moment may both get the name.
	if _, err := os.Lstat(file); err == nil {
		return exists(file)
	}
	return os.Rename(temp, file)
}

// send sends a file, the standard input if file is "-", or nothing if file is "".
func (t *task) send(ctx context.Context, o *operator, path string, query url.Values, file string) error {
	var body io.Reader
	p := &progress{notes: t.notes, of: -1}
	switch file {
	case "":
	case "-":
		body = io.TeeReader(os.Stdin, p)
	default:
		if info, err := os.Stat(file + "-wal"); err == nil && info.Size() > 0 {
			return fmt.Errorf("%s-wal has transactions that are not in %[1]s: run sqlite3 %[1]s \".backup whole.db\", and use whole.db", file)
		}
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil {
			p.of = info.Size()
		}
		body = io.TeeReader(f, p)
	}
	res, err := o.call(ctx, http.MethodPost, path, query, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	p.end()
	var answer struct{ Kept, Note string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Kept != "" {
		fmt.Fprintln(t.notes, "the old file is kept as", answer.Kept)
	}
	if answer.Note != "" {
		fmt.Fprintln(t.notes, "note:", answer.Note)
	}
	return nil
}

// progressEvery is the interval at which a long transfer reports its progress.
const progressEvery = 2 * time.Second

// A progress reports the progress of a long transfer, a line at a time.
type progress struct {
	notes io.Writer
	done  int64
	of    int64 // -1 if it is not known
	last  time.Time
	told  bool
}

// Write counts the bytes of a transfer.
func (p *progress) Write(b []byte) (int, error) {
	now := time.Now()
	if p.last.IsZero() {
		p.last = now
	}
	p.done += int64(len(b))
	if now.Sub(p.last) >= progressEvery {
		p.last = now
		p.tell()
	}
	return len(b), nil
}

func (p *progress) tell() {
	p.told = true
	if p.of > 0 {
		fmt.Fprintf(p.notes, "%d of %d MiB\n", p.done>>20, p.of>>20)
		return
	}
	fmt.Fprintf(p.notes, "%d MiB\n", p.done>>20)
}

func (p *progress) end() {
	if p.told {
		p.tell()
	}
}

// trimmed returns a text without white space around it.
func trimmed(s string) string { return strings.TrimSpace(s) }

// unknown is the handler for rooms of another program. Their files are read, and none of their code
// runs.
type unknown struct{ room.Base }

// registerAll registers the namespaces of a data directory, so that they can be listed.
func registerAll(host *room.Host, data string) error {
	entries, err := os.ReadDir(data)
	if err != nil {
		return err
	}
	names := host.LoggedNamespaces()
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), "_") && !slices.Contains(names, e.Name()) {
			names = append(names, e.Name())
		}
	}
	for _, name := range names {
		_ = host.Register(name, func() room.Handler { return new(unknown) }) // fails for a directory that is not a namespace
	}
	return nil
}
