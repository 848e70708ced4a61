package sqlite

// Values as bytes. A row is its values one after the other. So a row is copied out of SQLite, compared
// and stored without making a Go value of each column. Den's change log has rows in this form on disk.
//
//	value   type (1 byte), then
//	  Null    nothing
//	  Integer 8 bytes, little endian
//	  Float   8 bytes, the IEEE bits, little endian
//	  Text    4 bytes length, little endian, then the bytes
//	  Blob    likewise

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"strings"
)

// Value is a column's value: nil, int64, float64, string or []byte.
type Value = any

// Type is the storage class of a value.
type Type uint8

// The storage classes, in SQLite's sorting order but that numbers sort together.
const (
	Null Type = iota
	Integer
	Float
	Text
	Blob
)

func (t Type) String() string { return strings.Fields("NULL integer float text blob")[t] }

// AppendInt64 appends an Integer.
func AppendInt64(dst []byte, v int64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(Integer)), uint64(v))
}

// AppendFloat64 appends a Float.
func AppendFloat64(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(Float)), math.Float64bits(v))
}

// AppendBytes appends a Text or a Blob.
func AppendBytes(dst []byte, t Type, v []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, byte(t)), uint32(len(v)))
	return append(dst, v...)
}

// AppendValue appends a Value, or an int. A value of another type becomes Null.
func AppendValue(dst []byte, v Value) []byte {
	switch v := v.(type) {
	case int64:
		return AppendInt64(dst, v)
	case int:
		return AppendInt64(dst, int64(v))
	case float64:
		return AppendFloat64(dst, v)
	case string:
		dst = binary.LittleEndian.AppendUint32(append(dst, byte(Text)), uint32(len(v)))
		return append(dst, v...)
	case []byte:
		return AppendBytes(dst, Blob, v)
	}
	return append(dst, byte(Null))
}

// Size returns the length in bytes of the value that b starts with. b must start with a whole one.
func Size(b []byte) int {
	switch Type(b[0]) {
	case Integer, Float:
		return 9
	case Text, Blob:
		return 5 + int(binary.LittleEndian.Uint32(b[1:]))
	}
	return 1
}

// Cut returns the value that b starts with and what follows it. ok is false if b does not start with a
// whole value, so b may come from a file.
func Cut(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || Type(b[0]) > Blob || (Type(b[0]) == Text || Type(b[0]) == Blob) && len(b) < 5 {
		return nil, nil, false
	}
	n := Size(b)
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// Column returns value i of a row, without a copy.
func Column(row []byte, i int) []byte {
	for ; i > 0; i-- {
		row = row[Size(row):]
	}
	return row[:Size(row)]
}

// Int64 returns the value of an Integer.
func Int64(v []byte) int64 { return int64(binary.LittleEndian.Uint64(v[1:])) }

// Float64 returns the value of a Float.
func Float64(v []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(v[1:])) }

// Values returns the n values of a row. They are copies; the texts share one.
func Values(row []byte, n int) []Value {
	out := make([]Value, n)
	all := string(row)
	at := 0
	for i := range out {
		v := row[at:]
		length := Size(v)
		switch Type(v[0]) {
		case Integer:
			out[i] = Int64(v)
		case Float:
			out[i] = Float64(v)
		case Text:
			out[i] = all[at+5 : at+length]
		case Blob:
			out[i] = bytes.Clone(v[5:length:length])
		}
		at += length
	}
	return out
}

// Compare orders two values as SQLite does without a collation: NULL, numbers, texts, blobs.
func Compare(a, b []byte) int {
	ta, tb := class(a), class(b)
	if ta != tb {
		return cmp.Compare(ta, tb)
	}
	switch ta {
	case 0:
		return 0
	case 1:
		return compareNumbers(a, b)
	}
	return bytes.Compare(a[5:Size(a)], b[5:Size(b)])
}

func class(v []byte) int {
	switch Type(v[0]) {
	case Null:
		return 0
	case Integer, Float:
		return 1
	case Text:
		return 2
	}
	return 3
}

func compareNumbers(a, b []byte) int {
	switch {
	case Type(a[0]) == Integer && Type(b[0]) == Integer:
		return cmp.Compare(Int64(a), Int64(b))
	case Type(a[0]) == Float && Type(b[0]) == Float:
		return cmp.Compare(Float64(a), Float64(b))
	case Type(a[0]) == Integer:
		return compareMixed(Int64(a), Float64(b))
	}
	return -compareMixed(Int64(b), Float64(a))
}

// compareMixed compares an integer with a float exactly: beyond 2^53 a conversion to float would make different numbers equal.
func compareMixed(i int64, f float64) int {
	if f >= 1<<63 {
		return -1
	}
	if f < -(1 << 63) {
		return 1
	}
	whole := int64(f)
	if c := cmp.Compare(i, whole); c != 0 {
		return c
	}
	return cmp.Compare(0, f-float64(whole))
}

// Canonical returns the form in which two values have equal bytes if SQLite holds them for equal: a
// Float that is a whole number becomes an Integer.
func Canonical(v []byte) []byte {
	if Type(v[0]) != Float {
		return v
	}
	f := Float64(v)
	if f >= -(1<<63) && f < 1<<63 && f == math.Trunc(f) {
		return AppendInt64(nil, int64(f))
	}
	return v
}
