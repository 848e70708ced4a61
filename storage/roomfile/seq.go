package roomfile

// A seq above all that a room has ever answered with, for a restore of a room whose file cannot be read. Each time that a file
// takes the room's place, NAME.seq gets the seq that it begins with. A room makes fewer than 2^32 commits between two
// restores. So the room has not reached the noted seq, or that of the backup if it is higher, plus 2^32.
//
//	NAME.seq, one line of text:
//	"den-seq 1 ", the seq in decimal digits, a space, the CRC-32C of what is before it in 8 hex digits, a newline

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/denrooms/den/internal/bug"
	"github.com/denrooms/den/storage/vfs"
)

const (
	// seqRoom is how many commits a room has at most between two restores.
	seqRoom = 1 << 32
	// seqUnknown is the noted seq if NAME.seq is damaged.
	seqUnknown = 1 << 44
)

func seqLine(seq uint64) []byte {
	line := fmt.Appendf(nil, "den-seq 1 %d", seq)
	return fmt.Appendf(line, " %08x\n", castagnoli(0, line))
}

// NotedSeq returns the seq in NAME.seq, or 0 if there is no such file.
func (f File) NotedSeq() (uint64, error) {
	file, err := f.FS.Open(f.Path+SeqSuffix, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.NewSectionReader(file, 0, 100))
	if err != nil {
		return 0, err
	}
	var seq uint64
	if _, err := fmt.Sscanf(string(b), "den-seq 1 %d ", &seq); err != nil || string(seqLine(seq)) != string(b) {
		return seqUnknown, nil
	}
	return seq, nil
}

// NoteSeq writes NAME.seq. Its content is durable, and its name will be: Replace and PutNew sync the directory before the file
// is in place.
func (f File) NoteSeq(seq uint64) error {
	return f.writeBeside(SeqSuffix, func(file vfs.File) error {
		_, err := file.WriteAt(seqLine(seq), 0)
		return err
	})
}

// SeqAbove returns a seq above all that a room has answered with, if its file is missing or cannot be read. known is the highest
// seq in what can be read of it and in its replacement. The error is ErrTooLarge, or of the file system.
func (f File) SeqAbove(known uint64) (uint64, error) {
	noted, err := f.NotedSeq()
	if err != nil {
		return 0, err
	}
	if bug.On("seq-back") {
		noted = 0
	}
	above := max(noted, known) + seqRoom
	if above > math.MaxInt64/2 {
		return 0, fmt.Errorf("%w: the room's seq is %d", ErrTooLarge, max(noted, known))
	}
	return above, nil
}
