// Package cmem reads and writes the memory of the translated SQLite, which Go does not manage, and
// gives SQLite functions to call back. An address is a uintptr; 0 is C's null pointer.
package cmem

import (
	"strings"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Pointer turns an address into a Go pointer. Reading the number as a pointer is what go vet and
// checkptr accept for memory that Go does not own.
func Pointer(p uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// Bytes returns n bytes at p without a copy: they are valid as long as the memory is.
func Bytes(p uintptr, n int) []byte {
	if n <= 0 || p == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(Pointer(p)), n)
}

// String copies the text at p, up to its NUL. A null pointer gives "".
func String(p uintptr) string { return strings.Clone(StringView(p)) }

// StringView is String without a copy: what it returns is valid as long as the memory is.
func StringView(p uintptr) string {
	if p == 0 {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.String((*byte)(Pointer(p)), n)
}

// PutString copies s with a NUL into n bytes at p, and reports whether there is room for it.
func PutString(p uintptr, n int, s string) bool {
	if len(s)+1 > n {
		return false
	}
	b := Bytes(p, n)
	b[copy(b, s)] = 0
	return true
}

// PutInt32 stores v at p, unless p is null.
func PutInt32(p uintptr, v int32) {
	if p != 0 {
		*(*int32)(Pointer(p)) = v
	}
}

// Func returns the address that SQLite calls for a Go function that captures no variables.
func Func[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&struct{ f F }{f})) }

// Method returns the function at an address, for example one of a VFS. The address must not be 0.
func Method[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&struct{ uintptr }{address})) }

// Malloc returns n bytes of SQLite's memory, which Free gives back. It panics if there is none.
func Malloc(tls *libc.TLS, n int) uintptr {
	p := sqlite3.Xsqlite3_malloc64(tls, uint64(n))
	if p == 0 {
		panic("sqlite: out of memory")
	}
	return p
}

// Free gives memory of SQLite's back. A null pointer is none.
func Free(tls *libc.TLS, p uintptr) { sqlite3.Xsqlite3_free(tls, p) }

// CString copies s with a NUL into new memory, which Free gives back.
func CString(tls *libc.TLS, s string) uintptr {
	p := Malloc(tls, len(s)+1)
	PutString(p, len(s)+1, s)
	return p
}
