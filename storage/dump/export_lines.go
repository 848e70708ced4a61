package dump

// An export as lines of JSON.

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/sqlite"
)

// maxExact is the highest integer that every reader of JSON reads exactly.
const maxExact = 1 << 53

func (x *exporter) writeLines(to io.Writer) error {
	w := bufio.NewWriterSize(to, 64<<10)
	header, err := marshal(x.header)
	if err != nil {
		return err
	}
	w.Write(header) // Flush returns its error
	for _, t := range x.header.Tables {
		if t.Load == loadRows {
			if err := x.writeTable(w, t); err != nil {
				return err
			}
		}
		for _, name := range t.Shadows {
			if err := x.writeTable(w, x.shadows[name]); err != nil {
				return err
			}
		}
	}
	t, there, err := x.sequences()
	if err == nil && there {
		err = x.writeTable(w, t)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "{\"end\":{\"rows\":%d}}\n", x.rows)
	return w.Flush()
}

func (x *exporter) writeTable(w *bufio.Writer, t exportTable) error {
	name, err := json.Marshal(t.Name)
	if err != nil {
		return err
	}
	names := make([][]byte, len(t.columns))
	for i, c := range t.columns {
		names[i] = appendJSONText(nil, []byte(c))
	}
	var line []byte
	return x.each(t, func(r *storage.Rows) error {
		at := 0
		line = append(append(line[:0], `{"table":`...), name...)
		if t.Rowid != "" {
			line = appendJSONValue(append(line, `,"rowid":`...), r, 0)
			at = 1
		}
		line = append(line, `,"row":{`...)
		for i, n := range names {
			if i > 0 {
				line = append(line, ',')
			}
			line = appendJSONValue(append(append(line, n...), ':'), r, at+i)
		}
		_, err := w.Write(append(line, "}}\n"...))
		return err
	})
}

// rowValues are the values of a row: a *storage.Rows or a *sqlite.Row.
type rowValues interface {
	Type(i int) storage.Type
	Int(i int) int64
	Float(i int) float64
	Bytes(i int) []byte
}

// appendJSONValue appends column i of a row as in the package's doc.
func appendJSONValue(dst []byte, r rowValues, i int) []byte {
	switch r.Type(i) {
	case storage.Integer:
		n := r.Int(i)
		if n > maxExact || n < -maxExact {
			return append(strconv.AppendInt(append(dst, `{"$int":"`...), n, 10), `"}`...)
		}
		return strconv.AppendInt(dst, n, 10)
	case storage.Float:
		f := r.Float(i)
		switch {
		case math.IsInf(f, 1):
			return append(dst, `{"$float":"inf"}`...)
		case math.IsInf(f, -1):
			return append(dst, `{"$float":"-inf"}`...)
		}
		return appendFloatText(dst, f)
	case storage.Text:
		text := r.Bytes(i)
		if !utf8.Valid(text) {
			return append(base64.StdEncoding.AppendEncode(append(dst, `{"$text":"`...), text), `"}`...)
		}
		return appendJSONText(dst, text)
	case storage.Blob:
		return append(base64.StdEncoding.AppendEncode(append(dst, `{"$blob":"`...), r.Bytes(i)), `"}`...)
	}
	return append(dst, "null"...)
}

// appendJSONText appends a text that is UTF-8.
func appendJSONText(dst, text []byte) []byte {
	dst = append(dst, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c < ' ':
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// An orderedRow is a row as a JSON object that keeps the order of the columns.
type orderedRow struct {
	columns []string
	values  []storage.Value
}

// MarshalJSON writes the object as in the package's doc.
func (o orderedRow) MarshalJSON() ([]byte, error) {
	raw := []byte(nil)
	for _, v := range o.values {
		raw = sqlite.AppendValue(raw, v)
	}
	r := sqlite.NewRow(o.columns)
	r.Set(raw)
	dst := []byte{'{'}
	for i, c := range o.columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONValue(append(appendJSONText(dst, []byte(c)), ':'), &r, i)
	}
	return append(dst, '}'), nil
}
