package pagelog

import (
	"errors"
	"io"
	"math"
)

// A File is a database's file: its pages one after another.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Truncate cuts the file, or lengthens it with zeros.
	Truncate(size int64) error
}

// offset returns the offset of a page in a file.
func offset(number uint32) int64 { return int64(number-1) * PageSize }

// A FileReplay applies a room's transactions to a file, one after another. Nobody else may have the file open. A FileReplay
// keeps one page in memory.
type FileReplay struct {
	number uint64 // of the newest transaction in the file
	pages  filePages
}

// NewFileReplay returns a FileReplay for a file with the given number of pages, whose newest transaction is number.
func NewFileReplay(f File, number uint64, pages uint32) *FileReplay {
	return &FileReplay{number: number, pages: filePages{file: f, count: pages}}
}

// Apply applies the next transaction to the file. After an error the file's content is undefined. Errors: ErrCorrupt, ErrNewer,
// ErrMismatch, those of the file.
func (r *FileReplay) Apply(number uint64, payload []byte) error {
	if err := CheckOrder(number, r.number+1); err != nil {
		return err
	}
	t, err := Parse(number, payload)
	if err != nil {
		return err
	}
	if err := t.CheckSize(r.pages.count); err != nil {
		return err
	}
	if t.Snapshot {
		if err := r.pages.file.Truncate(0); err != nil {
			return err
		}
		r.pages.count = math.MaxUint32 // what was written may be read again
	}
	if err := t.Apply(&r.pages); err != nil {
		return err
	}
	r.number, r.pages.count = number, t.After
	return r.pages.file.Truncate(int64(t.After) * PageSize)
}

// filePages implements Pages by reading and writing a file directly.
type filePages struct {
	file  File
	count uint32 // pages above it do not exist
	page  [PageSize]byte
}

func (p *filePages) Page(number uint32) ([]byte, error) {
	clear(p.page[:])
	if number > p.count {
		return p.page[:], nil
	}
	if _, err := p.file.ReadAt(p.page[:], offset(number)); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p.page[:], nil
}

func (p *filePages) Changed(number uint32, page []byte) error {
	_, err := p.file.WriteAt(page, offset(number))
	return err
}
