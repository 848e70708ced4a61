package pagelog

import (
	"bytes"
	"testing"
)

// FuzzTransaction follows what may be a payload in all ways. Whatever it is, it is followed or refused.
func FuzzTransaction(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte{1})
	small := newHistory(0, 2)
	before := make([]byte, 2*PageSize) // so that payloads are short
	before[300], before[PageSize+8] = 1, 2
	after := append(bytes.Clone(before), make([]byte, PageSize)...)
	after[200]++
	after[2*PageSize]++
	for _, snapshot := range []bool{false, true} {
		small.builder.Add(56, 1, pageOf(before, 1), pageOf(after, 1))
		small.builder.Add(5000, 3, pageOf(before, 3), pageOf(after, 3))
		small.finish(before, after, snapshot)
	}
	for _, payload := range small.payloads {
		f.Add(payload)
		f.Add(payload[:len(payload)-1])
		f.Add(edited(payload, 8, 1<<31))
		f.Add(edited(payload, headerSize+4, 0))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		tx, err := Parse(1, payload)
		if err != nil {
			if !refused(err) {
				t.Error(err)
			}
			return
		}
		follow := func(what string, err error) {
			if err != nil && !refused(err) {
				t.Errorf("%s: %v", what, err)
			}
		}
		follow("layout", tx.CheckLayout(0))
		follow("size", tx.CheckSize(2))
		image, err := tx.Image()
		follow("image", err)
		if err == nil && len(image) != int(tx.After)*PageSize {
			t.Errorf("an image of %d bytes has %d pages", len(image), tx.After)
		}
		read := func(number uint32, page []byte) error {
			copy(page, pageOf(before, number))
			return nil
		}
		buffer := NewBuffer(read)
		forwards := tx.Apply(buffer)
		follow("apply", forwards)
		if forwards == nil && !tx.Snapshot { // a page may be there twice only in a snapshot
			backwards := tx.Revert(buffer)
			follow("and revert", backwards)
			if backwards == nil {
				for number, page := range buffer.All() {
					was := bytes.Clone(pageOf(before, number))
					if number == 1 {
						was = without(was)
						page = without(page)
					}
					if !bytes.Equal(page, was) {
						t.Errorf("page %d is another one on the way back", number)
					}
				}
			}
		}
		follow("revert", tx.Revert(NewBuffer(read)))
		sparse := &sparseFile{pages: make(map[int64][]byte)}
		follow("file", NewFileReplay(sparse, 0, tx.Before).Apply(1, payload))
		r := Rewinder{File: sparse, Number: 1}
		_, err = r.Revert(1, payload)
		follow("rewind", err)
		follow("flush", r.Flush())
	})
}

// A sparseFile is a file of any size, its pages zeros but for those that were written.
type sparseFile struct{ pages map[int64][]byte }

func (f *sparseFile) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	return len(p), copyPage(p, f.pages[off])
}

func (f *sparseFile) WriteAt(p []byte, off int64) (int, error) {
	f.pages[off] = bytes.Clone(p)
	return len(p), nil
}

func (f *sparseFile) Truncate(size int64) error { return nil }

func copyPage(dst, src []byte) error {
	copy(dst, src)
	return nil
}
