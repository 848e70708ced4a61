package storage

// What an action writes. The log makes it durable; the same change goes into the WAL as whole pages, and from there into
// the file. Bytes are counted because a disk's lifetime is, and because their number is the same on every machine.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/denrooms/den/storage/internal/walfile"
)

// rowBytes is how much text an update changes.
const rowBytes = 100

// BenchmarkUpdateBytes: an action that changes the text of one row, 100 bytes that are all different, in a table of
// 1,000 rows, durable, one at a time, with checkpoints as they come by default.
//
//	log-B/op       what the commit log grows by
//	syncs/op       of the commit log
//	wal-B/op       frames for the WAL, of whole pages
//	written-B/op   all that the process has given to the system: log, WAL, and pages in checkpoints (Linux alone)
//	disk-B/op      what the system will have to write for it, in pages of its own (Linux alone)
//
// The ratios are to the 100 bytes.
func BenchmarkUpdateBytes(b *testing.B) {
	const rows = 1000
	log, err := OpenLog(LogOptions{Dir: filepath.Join(b.TempDir(), "_log"), History: 1 << 50}) // nothing is deleted, so that its size tells what came
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	d := openBenchLog(b, Normal, log)
	if err := d.Sync("todos"); err != nil {
		b.Fatal(err)
	}
	actions(b, d, 0, rows, 100)
	if err := d.Checkpoint(); err != nil {
		b.Fatal(err)
	}
	updateText(b, d, 0, rows) // what a first time costs more
	before, wrote, frames, n := log.Stats(), processIO(b), int64(0), 0
	for b.Loop() {
		n++
		end := d.store.wal.End
		updateText(b, d, n, rows)
		if d.store.wal.End < end { // a checkpoint came between, and the WAL begins again
			end = walfile.HeaderSize
		}
		frames += d.store.wal.End - end
	}
	after, wroteAfter := log.Stats(), processIO(b)
	per := func(total int64) float64 { return float64(total) / float64(n) }
	b.ReportMetric(per(after.Bytes-before.Bytes), "log-B/op")
	b.ReportMetric(per(int64(after.Syncs-before.Syncs)), "syncs/op")
	b.ReportMetric(per(frames), "wal-B/op")
	b.ReportMetric(per(after.Bytes-before.Bytes)/rowBytes, "log-ratio")
	b.ReportMetric(per(frames)/rowBytes, "wal-ratio")
	if wrote != nil {
		b.ReportMetric(per(wroteAfter["wchar"]-wrote["wchar"]), "written-B/op")
		b.ReportMetric(per(wroteAfter["write_bytes"]-wrote["write_bytes"]), "disk-B/op")
		b.ReportMetric(per(wroteAfter["wchar"]-wrote["wchar"])/rowBytes, "written-ratio")
	}
}

// updateText is an action that changes all of a row's text.
func updateText(b *testing.B, d *DB, n, rows int) {
	text := bytes.Repeat([]byte{'a' + byte(n%26)}, rowBytes)
	copy(text, strconv.Itoa(n))
	tx, err := d.Begin()
	if err != nil {
		b.Fatal(err)
	}
	_, err = tx.Do(clock, func() error {
		_, err := d.Exec(`UPDATE todos SET text = ?, updated_at = ? WHERE id = ?`, text, clock, fmt.Sprintf("%016d", n*7%rows))
		return err
	})
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		b.Fatal(err)
	}
}

// processIO is what the kernel has counted of this process's reads and writes (proc_pid_io(5)); nil where it does not
// say.
func processIO(b *testing.B) map[string]int64 {
	b.Helper()
	content, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return nil
	}
	counts := map[string]int64{}
	for line := range bytes.Lines(content) {
		name, number, _ := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
		if counts[string(name)], err = strconv.ParseInt(string(number), 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	return counts
}
