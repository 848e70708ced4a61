package dbfile

import (
	"io"

	"github.com/denrooms/den/storage/vfs"
)

// Memory is a file in memory. Syncing it does nothing. It belongs to one goroutine.
type Memory struct{ content []byte }

var _ vfs.File = (*Memory)(nil)

// NewMemory makes a file of this content, which belongs to it from now on.
func NewMemory(content []byte) *Memory { return &Memory{content} }

// Bytes is the content, until the next write.
func (m *Memory) Bytes() []byte { return m.content }

// ReadAt is io.ReaderAt.
func (m *Memory) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(m.content)) {
		n = copy(p, m.content[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt is io.WriterAt.
func (m *Memory) WriteAt(p []byte, off int64) (int, error) {
	if err := m.Truncate(max(int64(len(m.content)), off+int64(len(p)))); err != nil {
		return 0, err
	}
	return copy(m.content[off:], p), nil
}

// Truncate makes the file longer by zeros, or shorter.
func (m *Memory) Truncate(size int64) error {
	if more := size - int64(len(m.content)); more > 0 {
		m.content = append(m.content, make([]byte, more)...)
	}
	m.content = m.content[:size]
	return nil
}

// Size is the file's size in bytes.
func (m *Memory) Size() (int64, error) { return int64(len(m.content)), nil }

// Sync does nothing.
func (*Memory) Sync() error { return nil }

// Close does nothing.
func (*Memory) Close() error { return nil }
