package dump

// An export as a script of SQL.

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/denrooms/den/storage"
	"github.com/denrooms/den/storage/sqlite"
)

// headerMark begins the line that holds the header of a script.
const headerMark = "-- den: "

func (x *exporter) writeSQL(to io.Writer) error {
	w := bufio.NewWriterSize(to, 64<<10)
	short := x.header
	short.Tables, short.After = nil, nil
	header, err := marshal(short)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s%sPRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n", headerMark, header)
	for _, t := range x.header.Tables {
		if !t.virtual {
			fmt.Fprintf(w, "%s;\n", t.SQL)
		}
	}
	for _, o := range x.header.After {
		if o.Type == "view" { // the content of a full-text index may be one
			fmt.Fprintf(w, "%s;\n", o.SQL)
		}
	}
	for _, t := range x.header.Tables {
		if err := x.writeContent(w, t); err != nil {
			return err
		}
	}
	if err := x.writeSequences(w); err != nil {
		return err
	}
	for _, o := range x.header.After {
		if o.Type != "view" {
			fmt.Fprintf(w, "%s;\n", o.SQL)
		}
	}
	fmt.Fprint(w, "COMMIT;\n")
	return w.Flush()
}

// writeContent writes the rows of a table; of a virtual table its definition too.
func (x *exporter) writeContent(w *bufio.Writer, t exportTable) error {
	if !t.virtual {
		return x.writeRows(w, t)
	}
	fmt.Fprintf(w, "%s;\n", t.SQL)
	switch t.Load {
	case loadRebuild:
		fmt.Fprintf(w, "INSERT INTO %s(%s) VALUES('rebuild');\n", sqlite.Quote(t.Name), sqlite.Quote(t.Name))
		return nil
	case loadShadow:
		fmt.Fprintf(w, "-- What follows writes the tables behind %s: in the sqlite3 shell it needs .dbconfig defensive off\n", strings.ReplaceAll(sqlite.Quote(t.Name), "\n", " "))
		for _, name := range t.Shadows {
			fmt.Fprintf(w, "DELETE FROM %s;\n", sqlite.Quote(name))
			if err := x.writeRows(w, x.shadows[name]); err != nil {
				return err
			}
		}
		return nil
	}
	return x.writeRows(w, t)
}

func (x *exporter) writeRows(w *bufio.Writer, t exportTable) error {
	names := t.names()
	start := "INSERT INTO " + sqlite.Quote(t.Name) + "(" + strings.Join(names, ",") + ") VALUES("
	if len(names) == 0 {
		return nil
	}
	var line []byte
	return x.each(t, func(r *storage.Rows) error {
		line = append(line[:0], start...)
		for i := range names {
			if i > 0 {
				line = append(line, ',')
			}
			line = appendLiteral(line, r, i)
		}
		_, err := w.Write(append(line, ");\n"...))
		return err
	})
}

func (x *exporter) writeSequences(w *bufio.Writer) error {
	t, there, err := x.sequences()
	if err != nil || !there {
		return err
	}
	fmt.Fprint(w, "DELETE FROM sqlite_sequence;\n")
	return x.each(t, func(r *storage.Rows) error {
		if internalSequence(r) {
			return nil
		}
		line := appendLiteral([]byte("INSERT INTO sqlite_sequence(name,seq) VALUES("), r, 0)
		_, err := w.Write(append(appendLiteral(append(line, ','), r, 1), ");\n"...))
		return err
	})
}

// appendLiteral appends column i as an SQL literal of the same value and type.
func appendLiteral(dst []byte, r rowValues, i int) []byte {
	switch r.Type(i) {
	case storage.Integer:
		if n := r.Int(i); n == math.MinInt64 {
			return append(dst, "(-9223372036854775807-1)"...) // -9223372036854775808 would be a float
		}
		return strconv.AppendInt(dst, r.Int(i), 10)
	case storage.Float:
		return appendFloatLiteral(dst, r.Float(i))
	case storage.Text:
		return appendTextLiteral(dst, r.Bytes(i))
	case storage.Blob:
		return append(hex.AppendEncode(append(dst, "x'"...), r.Bytes(i)), '\'')
	}
	return append(dst, "NULL"...)
}

func appendFloatLiteral(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "9e999"...)
	case math.IsInf(f, -1):
		return append(dst, "-9e999"...)
	}
	return appendFloatText(dst, f)
}

// appendFloatText appends the shortest text that SQLite reads as this float and not as an integer.
func appendFloatText(dst []byte, f float64) []byte {
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'g', -1, 64)
	if !strings.ContainsAny(string(dst[start:]), ".e") {
		dst = append(dst, ".0"...)
	}
	return dst
}

func appendTextLiteral(dst, text []byte) []byte {
	plain := utf8.Valid(text)
	for _, c := range text {
		plain = plain && (c >= ' ' && c != 0x7f || c == '\n' || c == '\t')
	}
	if !plain {
		return append(hex.AppendEncode(append(dst, "CAST(x'"...), text), "' AS TEXT)"...)
	}
	dst = append(dst, '\'')
	for _, c := range text {
		if c == '\'' {
			dst = append(dst, '\'')
		}
		dst = append(dst, c)
	}
	return append(dst, '\'')
}
