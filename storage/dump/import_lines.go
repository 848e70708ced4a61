package dump

// Reading an export in lines of JSON.

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/sqlite"
)

// An importLine is a row, or the end.
type importLine struct {
	Table string          `json:"table"`
	Rowid json.RawMessage `json:"rowid"`
	Row   orderedRow      `json:"row"`
	End   *struct {
		Rows int64 `json:"rows"`
	} `json:"end"`
}

func (im *importer) readLines() error {
	line, err := im.line()
	if err != nil {
		return err
	}
	var h exportHeader
	if err := json.Unmarshal(line, &h); err != nil {
		return fmt.Errorf("%w: the first line: %w", ErrFormat, err)
	}
	if err := h.check(); err != nil {
		return err
	}
	if err := im.schema(h); err != nil {
		return err
	}
	if err := im.content(); err != nil {
		return err
	}
	for _, t := range h.Tables {
		if t.Load == loadRebuild {
			if err := im.exec(fmt.Sprintf("INSERT INTO %s(%s) VALUES('rebuild')", sqlite.Quote(t.Name), sqlite.Quote(t.Name))); err != nil {
				return err
			}
		}
	}
	return im.objects(h.After, func(o exportObject) bool { return o.Type != "view" })
}

// schema creates the tables, and the views that full-text indexes may read.
func (im *importer) schema(h exportHeader) error {
	if err := im.internal(h.Internal); err != nil {
		return err
	}
	im.rowids = make(map[string]string)
	for _, t := range h.Tables {
		im.rowids[t.Name] = t.Rowid
		if err := im.exec(t.SQL); err != nil {
			return fmt.Errorf("table %q: %w", t.Name, err)
		}
		for _, name := range t.Shadows {
			if err := im.exec("DELETE FROM " + sqlite.Quote(name)); err != nil {
				return err
			}
		}
	}
	return im.objects(h.After, func(o exportObject) bool { return o.Type == "view" })
}

func (im *importer) objects(all []exportObject, which func(exportObject) bool) error {
	for _, o := range all {
		if !which(o) {
			continue
		}
		if err := im.exec(o.SQL); err != nil {
			return fmt.Errorf("%s %q: %w", o.Type, o.Name, err)
		}
	}
	return nil
}

// content reads the rows up to the end line. An export without one is cut off.
func (im *importer) content() error {
	for number := 2; ; number++ {
		text, err := im.line()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: there is no end line after line %d: it is cut off", ErrFormat, number-1)
		}
		if err != nil {
			return err
		}
		var l importLine
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrFormat, number, err)
		}
		if l.End != nil {
			return im.end(l.End.Rows)
		}
		if err := im.row(l); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
	}
}

// end compares the number of rows that were read with the number that was written.
func (im *importer) end(rows int64) error {
	if rows != im.rows {
		return fmt.Errorf("%w: %d rows were written, %d came", ErrFormat, rows, im.rows)
	}
	return nil
}

func (im *importer) row(l importLine) error {
	columns, values := l.Row.columns, l.Row.values
	if l.Table == "" {
		return fmt.Errorf("%w: a row without a table", ErrFormat)
	}
	if l.Table == "sqlite_sequence" && im.table != "sqlite_sequence" {
		if err := im.exec("DELETE FROM sqlite_sequence"); err != nil {
			return err
		}
	}
	if len(l.Rowid) > 0 {
		id, err := jsonValue(l.Rowid)
		if err != nil {
			return err
		}
		name := im.rowids[l.Table]
		if name == "" {
			name = "rowid"
		}
		columns, values = append([]string{name}, columns...), append([]any{id}, values...)
	}
	if len(columns) == 0 {
		return fmt.Errorf("%w: a row without columns", ErrFormat)
	}
	return im.put(l.Table, columns, values)
}

// line reads the next line that is not blank. It is valid until the next call.
func (im *importer) line() ([]byte, error) {
	for {
		line, err := im.from.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			line, err = im.longLine(bytes.Clone(line))
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && (err == nil || errors.Is(err, io.EOF)) {
			return line, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (im *importer) longLine(line []byte) ([]byte, error) {
	for {
		more, err := im.from.ReadSlice('\n')
		line = append(line, more...)
		if len(line) > maxStatement {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", storage.ErrTooLarge, maxStatement)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// UnmarshalJSON reads an object, whose order of columns it keeps.
func (o *orderedRow) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: a row is an object", ErrFormat)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		v, err := jsonValue(raw)
		if err != nil {
			return fmt.Errorf("column %q: %w", name, err)
		}
		o.columns, o.values = append(o.columns, name.(string)), append(o.values, v)
	}
	return nil
}

// jsonValue reads a column as in the package's doc.
func jsonValue(raw json.RawMessage) (storage.Value, error) {
	switch raw[0] {
	case 'n':
		return nil, nil
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case '{':
		return taggedValue(raw)
	case 't', 'f', '[':
		return nil, fmt.Errorf("%w: %.20s is no value of SQLite's", ErrFormat, raw)
	}
	if bytes.ContainsAny(raw, ".eE") {
		f, err := strconv.ParseFloat(string(raw), 64)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return f, nil
	}
	return integer(string(raw))
}

func integer(text string) (storage.Value, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return n, nil
}

// taggedValue reads a value for which JSON has no form.
func taggedValue(raw json.RawMessage) (storage.Value, error) {
	var tagged map[string]string
	if err := json.Unmarshal(raw, &tagged); err != nil || len(tagged) != 1 {
		return nil, fmt.Errorf("%w: %.40s is not an object with one of $int, $float, $text, $blob", ErrFormat, raw)
	}
	for tag, text := range tagged {
		switch tag {
		case "$int":
			return integer(text)
		case "$float":
			if text == "inf" {
				return math.Inf(1), nil
			}
			if text == "-inf" {
				return math.Inf(-1), nil
			}
		case "$text", "$blob":
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrFormat, err)
			}
			if tag == "$text" {
				return string(b), nil
			}
			return b, nil
		}
	}
	return nil, fmt.Errorf("%w: %.40s", ErrFormat, raw)
}
