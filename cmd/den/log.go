package main

// den log: which files the commit log of a data directory lacks, and how to continue without them.

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/denrooms/den/room"
)

const logUsage = `Usage: den log [-data DIR] [-abandon]

Lists the files of the commit log that are missing, or so damaged that it is not known whose
entries were there, and says which rooms are refused because of them. No server may run on the directory.

With -abandon it prints the same and then gives these files up: the rooms continue without them. What
was acknowledged and is only in these files is lost. Copy the directory first.

The exit code is 0 if nothing is missing or what was missing is given up, 1 if something is missing, 2 if
the command could not find out.

`

// whatIsLost says what follows if a file of the log is missing.
const whatIsLost = `Until they are put back these rooms are refused:
- rooms that were in use when their process ended, and cannot show that nothing of theirs was there: den verify names them;
- new rooms, if a crash left the file, because a room that was only in the log may be one of those that are missing.
`

// errLogIncomplete is the error of a command that has printed which files are missing.
var errLogIncomplete = errors.New("log: the commit log is not complete; put the files back, or give them up with -abandon")

// showLog runs den log.
func showLog(args []string, getenv func(string) string, out, help io.Writer) error {
	flags := flag.NewFlagSet("den log", flag.ContinueOnError)
	flags.SetOutput(help)
	fallback := getenv("DEN_DATA")
	if fallback == "" {
		fallback = "data"
	}
	data := flags.String("data", fallback, "`directory` of the rooms' databases, which no server uses (DEN_DATA)")
	abandon := flags.Bool("abandon", false, "give up what is missing")
	flags.Usage = func() {
		fmt.Fprint(help, logUsage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return codedError{err, 2}
	}
	if flags.NArg() > 0 {
		return codedError{errors.New("log: want no arguments; see den log -h"), 2}
	}
	if _, err := os.Stat(*data); err != nil {
		return codedError{fmt.Errorf("log: the data directory: %w (another one: -data or DEN_DATA)", err), 2}
	}
	host, err := room.Open(room.Options{Dir: *data, Logger: slog.New(slog.DiscardHandler), AlarmRooms: -1, ScrubEvery: -1})
	if err != nil {
		return codedError{fmt.Errorf("log: %w", err), 2}
	}
	if err = tellOfLog(host, out); *abandon && errors.Is(err, errLogIncomplete) {
		err = abandonLog(host, out)
	}
	if closed := closeHost(host); closed != nil {
		return codedError{errors.Join(err, closed), 2}
	}
	return err
}

// tellOfLog prints which files are missing.
func tellOfLog(host *room.Host, out io.Writer) error {
	lost := host.LostLog()
	if len(lost) == 0 {
		fmt.Fprintln(out, "the commit log is complete")
		return nil
	}
	fmt.Fprintf(out, "missing or damaged in the commit log: %s\n%s", strings.Join(lost, ", "), whatIsLost)
	return errLogIncomplete
}

// abandonLog gives up the missing files.
func abandonLog(host *room.Host, out io.Writer) error {
	given, err := host.AbandonLog()
	if err != nil {
		return codedError{fmt.Errorf("log: nothing was given up: %w", err), 2}
	}
	fmt.Fprintf(out, "given up: %s\n", strings.Join(given, ", "))
	return nil
}
