package syncproto

import (
	"unicode/utf16"
	"unicode/utf8"
)

// escapeLen returns the length of the escape at the beginning of data: 2, 6 for
// \uXXXX, or 0 if JSON does not have this escape.
func escapeLen(data []byte) int {
	if len(data) < 2 {
		return 0
	}
	switch data[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(data[2:]); ok {
			return 6
		}
	}
	return 0
}

// unescape appends the text of a string, given without its quotes and scanned before.
// ok is false if the text is over limit bytes or has half of a surrogate pair.
func unescape(dst, inner []byte, limit int) (out []byte, ok bool) {
	out = dst
	for i := 0; i < len(inner); {
		if len(out)-len(dst) > limit {
			return dst, false
		}
		if inner[i] != '\\' {
			out = append(out, inner[i])
			i++
			continue
		}
		if inner[i+1] != 'u' {
			out = append(out, unescapeByte(inner[i+1]))
			i += 2
			continue
		}
		r, n := escapedRune(inner[i:])
		if n == 0 {
			return dst, false
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
	return out, len(out)-len(dst) <= limit
}

func unescapeByte(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c // " \ /
}

// escapedRune reads \uXXXX, or two of them that make a surrogate pair. n is their
// length, or 0 for half of a pair.
func escapedRune(data []byte) (r rune, n int) {
	r, _ = hex4(data[2:])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(data) < 12 || data[6] != '\\' || data[7] != 'u' {
		return 0, 0
	}
	low, _ := hex4(data[8:])
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

// hex4 reads four hexadecimal digits.
func hex4(data []byte) (r rune, ok bool) {
	if len(data) < 4 {
		return 0, false
	}
	for _, c := range data[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
