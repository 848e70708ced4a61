package storage

// An image is a row, or a part of one, as bytes: what the capture keeps and
// compares without making a Go value of each column, and what the change log holds.
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
)

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

func appendInt(dst []byte, v int64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(Integer)), uint64(v))
}

func appendFloat(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(Float)), math.Float64bits(v))
}

func appendBytes(dst []byte, t Type, v []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(append(dst, byte(t)), uint32(len(v)))
	return append(dst, v...)
}

// appendGo appends a Value.
func appendGo(dst []byte, v Value) []byte {
	switch v := v.(type) {
	case int64:
		return appendInt(dst, v)
	case int:
		return appendInt(dst, int64(v))
	case float64:
		return appendFloat(dst, v)
	case string:
		dst = binary.LittleEndian.AppendUint32(append(dst, byte(Text)), uint32(len(v)))
		return append(dst, v...)
	case []byte:
		return appendBytes(dst, Blob, v)
	}
	return append(dst, byte(Null))
}

// size is the length of the value that b starts with.
func size(b []byte) int {
	switch Type(b[0]) {
	case Integer, Float:
		return 9
	case Text, Blob:
		return 5 + int(binary.LittleEndian.Uint32(b[1:]))
	}
	return 1
}

// checked gives the value that b starts with, and what follows it; ok is false where b does not start
// with a whole one. It is for images that were read from a file.
func checked(b []byte) (value, rest []byte, ok bool) {
	if len(b) == 0 || Type(b[0]) > Blob || (Type(b[0]) == Text || Type(b[0]) == Blob) && len(b) < 5 {
		return nil, nil, false
	}
	n := size(b)
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// column gives value i of an image.
func column(img []byte, i int) []byte {
	for ; i > 0; i-- {
		img = img[size(img):]
	}
	return img[:size(img)]
}

func intOf(v []byte) int64     { return int64(binary.LittleEndian.Uint64(v[1:])) }
func floatOf(v []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(v[1:])) }

// decode makes n Go values of an image. Texts share one copy of it.
func decode(img []byte, n int) []Value {
	out := make([]Value, n)
	all := string(img)
	at := 0
	for i := range out {
		v := img[at:]
		length := size(v)
		switch Type(v[0]) {
		case Integer:
			out[i] = intOf(v)
		case Float:
			out[i] = floatOf(v)
		case Text:
			out[i] = all[at+5 : at+length]
		case Blob:
			out[i] = bytes.Clone(v[5:length:length])
		}
		at += length
	}
	return out
}

// compare orders two values as SQLite does without a collation: NULL, numbers,
// text, blobs.
func compare(a, b []byte) int {
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
	return bytes.Compare(a[5:size(a)], b[5:size(b)])
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
		return cmp.Compare(intOf(a), intOf(b))
	case Type(a[0]) == Float && Type(b[0]) == Float:
		return cmp.Compare(floatOf(a), floatOf(b))
	case Type(a[0]) == Integer:
		return compareMixed(intOf(a), floatOf(b))
	}
	return -compareMixed(intOf(b), floatOf(a))
}

// compareMixed compares an integer with a float exactly: beyond 2^53 a
// conversion to float would make different numbers equal.
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

// canonical gives the form in which two keys that SQLite holds for equal have
// equal bytes: a float that is a whole number becomes an integer.
func canonical(v []byte) []byte {
	if Type(v[0]) != Float {
		return v
	}
	f := floatOf(v)
	if f >= -(1<<63) && f < 1<<63 && f == math.Trunc(f) {
		return appendInt(nil, int64(f))
	}
	return v
}
