package syncproto

// The values of a row are encoded by hand, because this code runs for every cell that
// is sent. encoding/json would need an allocation and reflection for each.

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendString appends s as a JSON string. It escapes only what JSON requires:
// U+2028, U+2029, <, > and & stay as they are. Each byte that is not part of
// valid UTF-8 becomes U+FFFD.
func AppendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, c)
			i++
			start = i
			continue
		}
		// The copy of up to four bytes stays on the stack.
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			start = i + 1
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\t':
		return append(dst, '\\', 't')
	case '\n':
		return append(dst, '\\', 'n')
	case '\f':
		return append(dst, '\\', 'f')
	case '\r':
		return append(dst, '\\', 'r')
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
}

// AppendNull appends null.
func AppendNull(dst []byte) []byte { return append(dst, "null"...) }

// AppendInt appends all digits of v. A JavaScript client rounds numbers beyond
// ±2^53 when it parses them; send such numbers as text if that matters.
func AppendInt(dst []byte, v int64) []byte { return strconv.AppendInt(dst, v, 10) }

// AppendFloat appends v in the shortest form that reads back as v, formatted as
// JavaScript does: only digits for integers below 1e21, an exponent from 1e21 on
// and below 1e-6, 0 for negative zero. NaN and the infinities, which JSON does not
// have, become null.
func AppendFloat(dst []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return AppendNull(dst)
	}
	if v == 0 {
		return append(dst, '0')
	}
	abs := math.Abs(v)
	if abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, v, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, v, 'e', -1, 64)
	// strconv writes e-07, JavaScript writes e-7.
	if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// AppendBool appends true or false.
func AppendBool(dst []byte, v bool) []byte { return strconv.AppendBool(dst, v) }

// AppendBlob appends v as a string of standard base64 with padding. Nothing marks
// the string as a blob: the client knows by the column.
func AppendBlob(dst, v []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, v)
	return append(dst, '"')
}

// AppendValue appends a value of one of SQLite's types (nil, int64, float64, string,
// []byte), a bool, or a number of another width. A nil []byte is an empty blob, not
// null. AppendValue panics if v has any other type.
func AppendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return AppendNull(dst)
	case int64:
		return AppendInt(dst, v)
	case string:
		return AppendString(dst, v)
	case float64:
		return AppendFloat(dst, v)
	case []byte:
		return AppendBlob(dst, v)
	case bool:
		return AppendBool(dst, v)
	}
	return appendOtherNumber(dst, v)
}

// appendOtherNumber keeps the rare widths out of AppendValue.
func appendOtherNumber(dst []byte, v any) []byte {
	switch v := v.(type) {
	case int:
		return AppendInt(dst, int64(v))
	case int32:
		return AppendInt(dst, int64(v))
	case int16:
		return AppendInt(dst, int64(v))
	case int8:
		return AppendInt(dst, int64(v))
	case uint:
		return strconv.AppendUint(dst, uint64(v), 10)
	case uint64:
		return strconv.AppendUint(dst, v, 10)
	case uint32:
		return AppendInt(dst, int64(v))
	case uint16:
		return AppendInt(dst, int64(v))
	case uint8:
		return AppendInt(dst, int64(v))
	case float32:
		return AppendFloat(dst, float64(v))
	}
	panic(fmt.Sprintf("syncproto: AppendValue: a row has no values of type %T", v))
}

// AppendRow appends a row: its values in column order, in brackets. The values must
// have the types that AppendValue accepts.
func AppendRow(dst []byte, values []any) []byte {
	dst = append(dst, '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendValue(dst, v)
	}
	return append(dst, ']')
}

// AppendSeparator appends a comma between two elements. It appends nothing before the
// first: if dst is empty or ends in an opening bracket or brace.
func AppendSeparator(dst []byte) []byte {
	if n := len(dst); n == 0 || dst[n-1] == '[' || dst[n-1] == '{' {
		return dst
	}
	return append(dst, ',')
}
