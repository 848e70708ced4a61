package main

// den compact: the files of rooms that have deleted much are written again without their free pages.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/denrooms/den/room"
)

// compacted is the result for one room, a line of JSON.
type compacted struct {
	Room   string `json:"room"`   // percent-encoded, as in the other commands; only the namespace if its rooms could not be listed
	Before int64  `json:"before"` // bytes of its file
	After  int64  `json:"after"`
	Error  string `json:"error,omitempty"`
}

// line returns the output without -json. It is "" for a room that was not changed.
func (c compacted) line() string {
	if c.After == c.Before {
		return ""
	}
	return fmt.Sprintf("%s: %d bytes before, %d now\n", c.Room, c.Before, c.After)
}

// compact compacts a room, or those of a namespace, or of all namespaces, that have enough free space. The answer has a
// line for each room.
func (a admin) compact(w http.ResponseWriter, r *http.Request) {
	key, out := keyOf(r), json.NewEncoder(w)
	if key.Room != "" {
		done, err := a.host.Compact(r.Context(), key)
		if err != nil {
			refuse(w, err)
			return
		}
		out.Encode(compactedOf(key, done, nil)) // an error means that the client is gone
		return
	}
	namespaces := a.host.Namespaces()
	if key.Namespace != "" {
		namespaces = []string{key.Namespace}
	}
	for _, namespace := range namespaces {
		for key, err := range a.host.Rooms(r.Context(), namespace) {
			done := room.Compacted{}
			if err == nil {
				done, err = a.host.CompactDue(r.Context(), key)
			}
			if key.Namespace == "" {
				key.Namespace = namespace
			}
			if out.Encode(compactedOf(key, done, err)) != nil {
				return
			}
		}
	}
}

func compactedOf(key room.Key, done room.Compacted, err error) compacted {
	c := compacted{Room: key.Namespace, Before: done.Before, After: done.After}
	if key.Room != "" {
		c.Room += "/" + url.PathEscape(key.Room)
	}
	if err != nil {
		c.Error = err.Error()
	}
	return c
}

// errNotAllCompacted is the error of a command that has printed the error of each room.
var errNotAllCompacted = errors.New("not all rooms were compacted")

// compact runs den compact. of is a room, a namespace, or "" for all.
func (t *task) compact(ctx context.Context, o *operator, of string) error {
	if (of == "") != t.all {
		return errors.New("compact: want a room, a namespace, or -all; see den compact -h")
	}
	query := url.Values{}
	if namespace, _, isRoom := strings.Cut(of, "/"); isRoom {
		key, err := parseKey(of)
		if err != nil {
			return err
		}
		query.Set("namespace", key.Namespace)
		query.Set("room", key.Room)
	} else if of != "" {
		query.Set("namespace", namespace)
	}
	res, err := o.call(ctx, http.MethodPost, "/compact", query, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return t.tellCompacted(res.Body)
}

// tellCompacted prints the answer.
func (t *task) tellCompacted(answer io.Reader) error {
	rooms, smaller, freed, failed := 0, 0, int64(0), error(nil)
	lines, out := json.NewDecoder(answer), json.NewEncoder(t.output)
	for {
		var c compacted
		err := lines.Decode(&c)
		switch {
		case errors.Is(err, io.EOF):
			if !t.json {
				fmt.Fprintf(t.output, "rooms: %d, compacted: %d, bytes freed: %d\n", rooms, smaller, freed)
			}
			return failed
		case err != nil:
			return err
		}
		rooms++
		if c.After < c.Before {
			smaller++
			freed += c.Before - c.After
		}
		if c.Error != "" {
			failed = errNotAllCompacted
		}
		switch {
		case t.json:
			err = out.Encode(c)
		case c.Error != "":
			fmt.Fprintf(t.notes, "den: %s: %s\n", c.Room, c.Error)
		default:
			_, err = io.WriteString(t.output, c.line())
		}
		if err != nil {
			return err
		}
	}
}
