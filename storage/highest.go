package storage

// A seq above all that a room has ever answered with, for a restore of a room whose file cannot be
// read. Each time that a file takes the room's place, the seq that it begins with is noted
// beside it, in NAME.seq. A room makes fewer than 2^32 commits between two restores. So the noted seq, or that of
// the backup if it is higher, and 2^32 more is above what the room has reached.
//
//	NAME.seq, one line of text:
//	"den-seq 1 ", the seq in decimal digits, a space, the CRC-32C of what is before it in 8 hex digits, a newline

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"

	"github.com/denrooms/den/internal/bug"
)

const (
	seqSuffix = ".seq"
	// seqRoom is how many commits a room has at most between two restores.
	seqRoom = 1 << 32
	// seqUnknown is taken for the noted seq where the note is damaged.
	seqUnknown = 1 << 44
)

func seqLine(seq Seq) []byte {
	line := fmt.Appendf(nil, "den-seq 1 %d", seq)
	return fmt.Appendf(line, " %08x\n", crc32.Checksum(line, crc32.MakeTable(crc32.Castagnoli)))
}

// notedSeq reads the note; 0: there is none.
func notedSeq(o Options) (Seq, error) {
	f, err := o.FS.Open(o.Path+seqSuffix, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 100))
	if err != nil {
		return 0, err
	}
	var seq Seq
	if _, err := fmt.Sscanf(string(b), "den-seq 1 %d ", &seq); err != nil || string(seqLine(seq)) != string(b) {
		return seqUnknown, nil
	}
	return seq, nil
}

// noteSeq writes the note, durable but for its name: whoever puts the file in its place syncs the directory first.
func noteSeq(o Options, seq Seq) error {
	temp := o.Path + seqSuffix + ".new"
	f, err := createFile(o.FS, temp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(seqLine(seq), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = o.FS.Rename(temp, o.Path+seqSuffix)
	}
	if err != nil {
		o.FS.Remove(temp)
	}
	return err
}

// aboveAll gives a seq that is above all that a room has answered with whose file is not there or cannot be
// read. known is the highest one in what can be read of it, and in the file that is to take its place.
func aboveAll(o Options, known Seq) (Seq, error) {
	noted, err := notedSeq(o)
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
