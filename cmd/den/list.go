package main

// The commands that list rooms and alarms. A room that cannot be read does not end a list: its error goes to the
// standard error, the others are listed, and the exit code is 1.

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errorMark begins a line of a list with a quoted error. No namespace begins with it.
const errorMark = "!"

// errNotAllListed is the error of a command that has printed the errors of a list.
var errNotAllListed = errors.New("not all could be listed")

// writeErrors writes an error into a list, line by line, because an error of errors.Join has several.
func writeErrors(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(w, "%s%s\n", errorMark, strconv.QuoteToASCII(line))
	}
}

// rooms lists the rooms, one a line, sorted by namespace and name.
func (a admin) rooms(w http.ResponseWriter, r *http.Request) {
	for _, namespace := range a.host.Namespaces() {
		var lines []string
		for key, err := range a.host.Rooms(r.Context(), namespace) {
			if err != nil {
				writeErrors(w, err)
				continue
			}
			lines = append(lines, key.Namespace+"/"+url.PathEscape(key.Room))
		}
		slices.Sort(lines)
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
	}
}

// alarms lists the alarms, one a line.
func (a admin) alarms(w http.ResponseWriter, r *http.Request) {
	for alarm, err := range a.host.Alarms(r.Context()) {
		if err != nil {
			writeErrors(w, err)
			continue
		}
		fmt.Fprintf(w, "%s/%s\t%q\t%s\ttry %d", alarm.Key.Namespace, url.PathEscape(alarm.Key.Room), alarm.Name, alarm.At.Format(time.RFC3339), alarm.Attempt)
		if alarm.Cron != "" {
			fmt.Fprintf(w, "\t%s\t%s", alarm.Cron, cmp.Or(alarm.Zone, "UTC"))
		}
		fmt.Fprintln(w)
	}
}

// rebuild makes the index of alarms again from the rooms' files.
func (a admin) rebuild(w http.ResponseWriter, r *http.Request) {
	for _, namespace := range a.host.Namespaces() {
		rooms, alarmed, err := a.host.RebuildAlarms(r.Context(), namespace)
		if err != nil {
			writeErrors(w, err)
		}
		fmt.Fprintf(w, "%s: %d rooms, %d with alarms\n", namespace, rooms, alarmed)
	}
}

// list copies a list to a writer, and its errors to the notes.
func (t *task) list(ctx context.Context, o *operator, method, path string, query url.Values, to io.Writer) error {
	res, err := o.call(ctx, method, path, query, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, failed := bufio.NewReader(res.Body), error(nil)
	for {
		line, err := body.ReadString('\n')
		if quoted, is := strings.CutPrefix(line, errorMark); is {
			failed = errNotAllListed
			text, bad := strconv.Unquote(strings.TrimSpace(quoted))
			if bad != nil {
				text = quoted
			}
			fmt.Fprintln(t.notes, "den:", text)
		} else if _, err := io.WriteString(to, line); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return failed
		}
		if err != nil {
			return err
		}
	}
}

// listAlarms runs den alarms.
func (t *task) listAlarms(ctx context.Context, o *operator, query url.Values) error {
	rebuilt := error(nil)
	if t.rebuild {
		rebuilt = t.list(ctx, o, http.MethodPost, "/alarms", query, t.notes)
	}
	if rebuilt != nil && !errors.Is(rebuilt, errNotAllListed) {
		return rebuilt
	}
	return cmp.Or(t.list(ctx, o, http.MethodGet, "/alarms", query, t.output), rebuilt)
}
