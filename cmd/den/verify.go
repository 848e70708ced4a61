package main

// den verify: checks whether a data directory is sound, without changing it.

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/denrooms/den/room"
)

const verifyUsage = `Usage: den verify [-data DIR] [-json] [-durability HOW] [NAMESPACE/ROOM ...]

Opens all rooms of a directory that no server uses, or the named ones, in memory, and checks them with the commit log
and the history. It changes nothing on the disk. It prints a line for each problem and each note, then a summary.

The exit code is 0 if nothing is wrong, 1 if there are problems, 2 if the check could not run.

  den verify
  den verify -json todos/kitchen

`

// A codedError is an error with an exit code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// exitCode returns the exit code for an error.
func exitCode(err error) int {
	if coded, is := errors.AsType[codedError](err); is {
		return coded.code
	}
	return 1
}

// A verdict is the output with -json.
type verdict struct {
	Data         string  `json:"data"`
	Sound        bool    `json:"sound"` // no problems, and the check finished
	Rooms        int     `json:"rooms"`
	Entries      int     `json:"entries"`      // of the log, of all rooms
	Replayed     int     `json:"replayed"`     // transactions that files lack and the log has
	Transactions int     `json:"transactions"` // transactions of the history that were undone
	Problems     []found `json:"problems"`
	Notes        []found `json:"notes"`
	Error        string  `json:"error,omitempty"` // why the check did not finish
}

// found is a room.Finding.
type found struct {
	Room  string `json:"room,omitempty"` // percent-encoded, as in the other commands
	Path  string `json:"path"`
	Check string `json:"check"`
	Text  string `json:"text"`
}

func findingOf(f room.Finding) found {
	out := found{Path: f.Path, Check: f.Check, Text: f.Err.Error()}
	if f.Namespace != "" {
		out.Room = f.Namespace + "/" + url.PathEscape(f.Room)
	}
	return out
}

// line returns the finding as a line. It leaves out the stack of a panic.
func (f found) line(severity string) string {
	of := f.Room
	if of == "" {
		of = f.Path
	}
	text, _, _ := strings.Cut(f.Text, "\n")
	return fmt.Sprintf("%s: %s: %s: %s", severity, of, f.Check, text)
}

// verify runs den verify.
func verify(ctx context.Context, args []string, getenv func(string) string, out, help io.Writer) error {
	o, asJSON, err := parseVerify(args, getenv, help)
	if err != nil {
		return codedError{err, 2}
	}
	v := verdict{Data: o.Dir, Problems: []found{}, Notes: []found{}}
	o.Report = func(f room.Finding) {
		one := findingOf(f)
		if !asJSON {
			fmt.Fprintln(out, one.line(f.Severity.String()))
		}
		if f.Severity == room.Problem {
			v.Problems = append(v.Problems, one)
		} else {
			v.Notes = append(v.Notes, one)
		}
	}
	counts, err := room.Verify(ctx, o)
	v.Rooms, v.Entries, v.Replayed, v.Transactions = counts.Rooms, counts.Entries, counts.Replayed, counts.Transactions
	v.Sound = err == nil && counts.Problems == 0
	if err != nil {
		v.Error = err.Error()
	}
	if asJSON {
		err = errors.Join(err, json.NewEncoder(out).Encode(v))
	} else if err == nil {
		fmt.Fprintf(out, "rooms: %d, entries of the log: %d, transactions walked back: %d, problems: %d, notes: %d\n",
			v.Rooms, v.Entries, v.Transactions, counts.Problems, counts.Notes)
	}
	switch {
	case err != nil:
		return codedError{fmt.Errorf("verify: %w", err), 2}
	case counts.Problems > 0:
		return codedError{errors.New("verify: not all is sound; see When something is refused in docs/OPERATING.md"), 1}
	}
	return nil
}

func parseVerify(args []string, getenv func(string) string, help io.Writer) (o room.VerifyOptions, asJSON bool, err error) {
	flags := flag.NewFlagSet("den verify", flag.ContinueOnError)
	flags.SetOutput(help)
	env := func(name, fallback string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return fallback
	}
	flags.StringVar(&o.Dir, "data", env("DEN_DATA", "data"), "`directory` of the rooms' databases, which no server uses (DEN_DATA)")
	flags.BoolVar(&asJSON, "json", false, "print one JSON object")
	how := flags.String("durability", env("DEN_DURABILITY", "durable"), "the server's durability: durable, relaxed or files (DEN_DURABILITY)")
	flags.Usage = func() {
		fmt.Fprint(help, verifyUsage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, false, err
	}
	durability, err := parseDurability(*how)
	if err != nil {
		return o, false, err
	}
	o.Relaxed = durability == room.Relaxed
	for _, arg := range flags.Args() {
		key, err := parseKey(arg)
		if err != nil {
			return o, false, err
		}
		o.Rooms = append(o.Rooms, key)
	}
	return o, asJSON, nil
}
