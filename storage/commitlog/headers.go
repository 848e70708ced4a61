package commitlog

// The headers of the segments: which log they are of, and what they tell of it.

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/denrooms/den/storage/commitlog/segment"
)

// readHeader reads the header of a segment of any log. ErrCorrupt: more than one bit of it is damaged.
func (d *directory) readHeader(number uint64) (h segment.Header, err error) {
	f, err := d.open(number, os.O_RDONLY)
	if err != nil {
		return h, err
	}
	defer f.Close()
	return segment.ReadHeader(f, number)
}

// segmentHeaders are the headers of the segments in the directory.
type segmentHeaders struct {
	id      [16]byte
	numbers []uint64                  // of this log's segments, sorted
	headers map[uint64]segment.Header // of those whose headers are not damaged
	newest  segment.Header            // the last of headers
	foreign []segment.Header          // of segments of other logs
	highest uint64                    // the highest number; not in numbers if the file is unfinished
}

// readHeaders reads the headers of all segments. b is what is left of CURRENT. ErrCorrupt: no file tells which log it is of.
func (d *directory) readHeaders(numbers []uint64, b []byte) (*segmentHeaders, error) {
	slices.Sort(numbers)
	all, found := make(map[uint64]segment.Header), &segmentHeaders{headers: make(map[uint64]segment.Header)}
	for _, n := range numbers {
		h, err := d.readHeader(n)
		switch {
		case err == nil:
			all[n] = h
		case !errors.Is(err, ErrCorrupt):
			return nil, err
		}
	}
	var ok bool
	if found.id, ok = chooseLogID(all, b); !ok {
		return nil, fmt.Errorf("commitlog: %w: %s is missing or damaged, and no segment tells which log it is of", ErrCorrupt, d.file(currentName))
	}
	for _, n := range numbers {
		h, readable := all[n]
		switch {
		case readable && h.ID != found.id:
			found.foreign = append(found.foreign, h)
			continue
		case readable:
			found.headers[n], found.newest = h, h
		}
		found.numbers, found.highest = append(found.numbers, n), n
	}
	for last := len(found.numbers) - 1; last >= 0 && d.unfinished(found.numbers[last], found.headers); last-- {
		found.numbers = found.numbers[:last]
	}
	found.numbers = slices.DeleteFunc(found.numbers, func(n uint64) bool { return n < found.newest.First }) // deleted, and back after a power cut
	return found, nil
}

// unfinished reports whether the beginning of a segment was cut short: its header, or the space before the first
// record, is not whole, and nothing follows it.
func (d *directory) unfinished(number uint64, heads map[uint64]segment.Header) bool {
	size, err := d.size(number)
	if _, ok := heads[number]; err != nil || ok && size >= segment.Start {
		return false
	}
	f, err := d.open(number, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	zeros, err := segment.OnlyZeros(f, number, size)
	return zeros && err == nil
}

// chooseLogID returns the ID of the log that the directory is of. What is left of CURRENT tells it; else it is the
// log of most of the files, and of the newest file if two logs have the same number.
func chooseLogID(heads map[uint64]segment.Header, b []byte) (id [16]byte, ok bool) {
	files, newest := make(map[[16]byte]int), make(map[[16]byte]int64)
	for _, h := range heads {
		files[h.ID]++
		newest[h.ID] = max(newest[h.ID], h.Begun)
	}
	for at := 0; at+40 <= len(b); at += currentPage {
		if left := [16]byte(b[at+24:]); files[left] > 0 {
			return left, true
		}
	}
	for other, n := range files {
		if n > files[id] || n == files[id] && newest[other] > newest[id] {
			id = other
		}
	}
	return id, len(files) > 0
}

// renameForeign renames a segment of another log.
func (d *directory) renameForeign(number uint64, id [16]byte) {
	name := fmt.Sprintf("%s.of-%x", segment.Name(number), id)
	for _, err := d.fs.Size(d.file(name)); err == nil; _, err = d.fs.Size(d.file(name)) {
		name += "-again"
	}
	err := d.fs.Rename(d.segment(number), d.file(name))
	if err != nil {
		d.logger.Warn("commit log: a file belongs to another log, and could not be renamed", "file", segment.Name(number), "to", name, "error", err)
		return
	}
	d.logger.Warn("commit log: a file belongs to another log, and is renamed", "file", segment.Name(number), "to", name)
}
