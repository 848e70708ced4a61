package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/denrooms/den/storage/commitlog"
	"github.com/denrooms/den/storage/internal/history"
	"github.com/denrooms/den/storage/internal/nodelog"
	"github.com/denrooms/den/storage/internal/walfile"
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/roomfile"
	"github.com/denrooms/den/storage/sqlite"
)

// The limits that Options has, and the first values that it does not take.
func TestOptionsAtTheirLimits(t *testing.T) {
	for name, c := range map[string]struct {
		set func(*Options)
		ok  bool
	}{
		"nothing but a path":    {func(*Options) {}, true},
		"no path":               {func(o *Options) { o.Path = "" }, false},
		"off":                   {func(o *Options) { o.Synchronous = Off }, true},
		"beyond off":            {func(o *Options) { o.Synchronous = Off + 1 }, false},
		"the smallest room":     {func(o *Options) { o.MaxBytes = 64 << 10 }, true},
		"one that is too small": {func(o *Options) { o.MaxBytes = 64<<10 - 1 }, false},
		"a negative room":       {func(o *Options) { o.MaxBytes = -1 }, false},
		"a negative value":      {func(o *Options) { o.MaxValueBytes = -1 }, false},
		"negative changes":      {func(o *Options) { o.MaxChanges = -1 }, false},
		"negative change bytes": {func(o *Options) { o.MaxChangeBytes = -1 }, false},
		"negative action bytes": {func(o *Options) { o.MaxActionBytes = -1 }, false},
		"a negative cache":      {func(o *Options) { o.StatementCache = -1 }, false},
		"a negative page cache": {func(o *Options) { o.CacheBytes = -1 }, false},
		"a small one of each": {func(o *Options) {
			o.MaxValueBytes, o.MaxChanges, o.MaxChangeBytes, o.MaxActionBytes, o.StatementCache, o.CacheBytes = 1, 1, 1, 1, 1, 1
		}, true},
		"with a log, off is set": {func(o *Options) { o.Log, o.Synchronous = newMemLog(), Off }, true},
	} {
		o := Options{Path: "x"}
		c.set(&o)
		got, err := o.WithDefaults()
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrMisuse) {
			t.Errorf("%s: %v", name, err)
		}
		if o.Log != nil && got.Synchronous != Normal {
			t.Errorf("%s: synchronous is %d", name, got.Synchronous)
		}
	}
	o, err := Options{Path: "x"}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if o.MaxBytes != 10<<30 || o.MaxValueBytes != 16<<20 || o.MaxChanges != 10_000 || o.MaxChangeBytes != 64<<20 || o.MaxActionBytes != 64<<20 ||
		o.History != 100_000 || o.Retention != 168*time.Hour || o.CheckpointBytes != 4<<20 || o.StatementCache != 128 || o.CacheBytes != 2<<20 {
		t.Errorf("the defaults are not what the doc says: %+v", o)
	}
	for bytes, want := range map[int64][2]int64{64 << 10: {16, 16 + 1024}, 256 << 20: {65536, 65536 + 1024}, 1 << 30: {262144, 262144 + 4096}, 1<<30 + 4095: {262144, 262144 + 4096}} {
		o.MaxBytes = bytes
		if got := [2]int64{o.limitPages(), o.hardPages()}; got != want {
			t.Errorf("%d bytes: %v pages, want %v", bytes, got, want)
		}
	}
}

// Which actions are measured: all of a small room, and those of a large one that is half full.
func TestMayFill(t *testing.T) {
	for _, c := range []struct {
		limit int64
		pages uint32
		want  bool
	}{{1 << 16, 0, true}, {1<<16 + 1, 0, false}, {1<<16 + 2, 1<<15 + 1, true}, {1<<16 + 2, 1 << 15, false}, {1 << 20, 1 << 19, true}, {1 << 20, 1<<19 - 1, false}} {
		st := &store{o: &Options{MaxBytes: c.limit * pageSize}, wal: &walfile.WAL{Pages: c.pages}}
		if got := st.mayFill(); got != c.want {
			t.Errorf("%d pages of %d: %v", c.pages, c.limit, got)
		}
		st.wal = nil
		if !st.mayFill() {
			t.Errorf("%d pages without a log: not measured", c.limit)
		}
	}
}

// Which errors of Open refuse a room, so that its entries are moved out of the log: not those that waiting mends, whatever else they are.
func TestRefusal(t *testing.T) {
	for _, err := range []error{ErrNotDatabase, ErrCorrupt, ErrNewer, ErrWrongRoom, ErrLogMismatch, ErrLogMissing, ErrIO} {
		if !Refused(fmt.Errorf("open: %w", err)) {
			t.Errorf("%v is no refusal", err)
		}
		for _, passing := range []error{ErrInUse, ErrFull, ErrReadOnly, ErrClosed, ErrInterrupted} {
			if Refused(errors.Join(err, passing)) || Refused(passing) {
				t.Errorf("%v and %v is a refusal", err, passing)
			}
		}
	}
	if Refused(errors.New("something")) || Refused(ErrMisuse) {
		t.Error("anything is a refusal")
	}
}

// What an operator is told of an error of the system, of SQLite, of the log and of its pages.
func TestErrorsKinds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "r.db")
	for err, want := range map[error]error{
		syscall.ENOSPC: ErrFull, syscall.EDQUOT: ErrFull, syscall.EROFS: ErrReadOnly, fs.ErrPermission: ErrReadOnly, syscall.EACCES: ErrReadOnly,
		syscall.EIO: ErrIO, syscall.EMFILE: ErrIO,
	} {
		for _, err := range []error{err, fmt.Errorf("%w: %w", ErrCorrupt, err)} {
			if got := diagnose(path, err); !errors.Is(got, want) || !errors.Is(got, err) {
				t.Errorf("%v: %v, want %v", err, got, want)
			}
		}
	}
	if err := errors.New("x"); diagnose(path, err) != err || diagnose(path, nil) != nil {
		t.Error("an error that says nothing is told otherwise")
	}
	if got := strings.Count(diagnose(path, diagnose(path, syscall.EIO)).Error(), ErrIO.Error()); got != 1 {
		t.Errorf("it is said %d times that it is an I/O error", got)
	}
	if got := diagnose(path, roomfile.Said(sqlite.ResultBusy)); !errors.Is(got, ErrInUse) || !strings.Contains(got.Error(), "another process") {
		t.Error(got)
	}
	if err := error(roomfile.Said(sqlite.ResultCorrupt)); diagnose(path, err) != err {
		t.Error("an error of SQLite's is told otherwise")
	}
	if got := diagnose(path, roomfile.Said(sqlite.ResultCantOpen)); !errors.Is(got, ErrIO) || !errors.Is(got, fs.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", got)
	}
	if err := error(roomfile.Said(sqlite.ResultCantOpen)); diagnose(filepath.Join(t.TempDir(), "r.db"), err) != err {
		t.Error("in a directory in which nothing is amiss something is said")
	}
	for code, want := range map[sqlite.ResultCode]error{
		sqlite.ResultConstraint: ErrConstraint, sqlite.ResultFull: ErrFull, sqlite.ResultReadOnly: ErrReadOnly, sqlite.ResultPerm: ErrReadOnly, sqlite.ResultBusy: ErrInUse,
		sqlite.ResultLocked: ErrInUse, sqlite.ResultIOErr: ErrIO, sqlite.ResultCantOpen: ErrIO, sqlite.ResultCorrupt: ErrCorrupt, sqlite.ResultNotADB: ErrNotDatabase,
		sqlite.ResultInterrupt: ErrInterrupted, sqlite.ResultAuth: ErrForbidden, sqlite.ResultTooBig: ErrTooLarge, sqlite.ResultMisuse: ErrMisuse, sqlite.ResultError: nil,
	} {
		for _, code := range []sqlite.ResultCode{code, code | 5<<8} {
			if got := roomfile.Said(code).Unwrap(); got != want {
				t.Errorf("code %d: %v, want %v", code, got, want)
			}
		}
	}
	for code, want := range map[sqlite.ResultCode]bool{
		sqlite.ResultError: true, sqlite.ResultInternal: true, sqlite.ResultFormat: true, sqlite.ResultMismatch: true, sqlite.ResultSchema: true, sqlite.ResultFull: false, sqlite.ResultBusy: false,
	} {
		if got := errors.Is(damaged(roomfile.Said(code)), ErrCorrupt); got != want {
			t.Errorf("code %d means damage: %v", code, got)
		}
	}
	if err := error(roomfile.Said(sqlite.ResultCorrupt)); damaged(err) != err || damaged(syscall.EIO) != syscall.EIO {
		t.Error("what is no error of a statement's is called damage")
	}
	for theirs, ours := range map[error]error{
		commitlog.ErrFull: ErrFull, commitlog.ErrTooLarge: ErrTooLarge, commitlog.ErrCorrupt: ErrLogMismatch, commitlog.ErrGap: ErrLogMismatch, commitlog.ErrLost: ErrLogMissing,
		commitlog.ErrNewer: ErrNewer, commitlog.ErrOlder: ErrLogMismatch, commitlog.ErrMisuse: ErrInUse, commitlog.ErrClosed: ErrClosed, syscall.EIO: ErrIO,
	} {
		if got := nodelog.Error(fmt.Errorf("x: %w", theirs)); !errors.Is(got, ours) || !errors.Is(got, theirs) || ours != ErrIO && errors.Is(got, ErrIO) {
			t.Errorf("%v: %v, want %v", theirs, got, ours)
		}
		if got := nodelog.RoomError(theirs); !errors.Is(got, ours) || strings.Contains(got.Error(), "-abandon") != (theirs == commitlog.ErrLost) {
			t.Errorf("of a room, %v: %v", theirs, got)
		}
	}
	for theirs, ours := range map[error]error{pagelog.ErrCorrupt: ErrCorrupt, pagelog.ErrNewer: ErrNewer, pagelog.ErrMismatch: ErrLogMismatch, pagelog.ErrDiverged: ErrNoHistory} {
		if got := history.PagesError(fmt.Errorf("x: %w", theirs)); !errors.Is(got, ours) || !errors.Is(got, theirs) {
			t.Errorf("%v: %v, want %v", theirs, got, ours)
		}
	}
	if nodelog.Error(nil) != nil || nodelog.RoomError(nil) != nil || history.PagesError(nil) != nil {
		t.Error("no error is one")
	}
}

// What the beginning of a file says of it: whether it is a room's, and whether SQLite would make a WAL.
func TestHeaderOfAFile(t *testing.T) {
	header := func(size int, change func(b []byte)) string {
		b := make([]byte, max(size, 100))
		copy(b, magic)
		b[18], b[19], b[43] = 2, 2, 7
		copy(b[60:], "\x00\x00\x00\x02")
		copy(b[68:], "DenR")
		if change != nil {
			change(b)
		}
		return string(b[:size])
	}
	none := fileHeader{}
	for name, c := range map[string]struct {
		content string
		want    fileHeader
		fresh   bool
		err     error
	}{
		"empty":              {"", fileHeader{empty: true}, true, nil},
		"a byte":             {"S", none, false, ErrNotDatabase},
		"99 bytes":           {header(99, nil), none, false, ErrNotDatabase},
		"a header":           {header(100, nil), fileHeader{changes: 7, wal: true}, false, nil},
		"almost a page":      {header(4095, nil), fileHeader{changes: 7, wal: true}, false, nil},
		"another magic":      {header(100, func(b []byte) { b[15] = 1 }), none, false, ErrNotDatabase},
		"written in no WAL":  {header(100, func(b []byte) { b[18] = 1 }), fileHeader{changes: 7}, false, nil},
		"read in no WAL":     {header(100, func(b []byte) { b[19] = 1 }), fileHeader{changes: 7}, false, nil},
		"another program's":  {header(100, func(b []byte) { b[68] = 'd' }), fileHeader{changes: 7, wal: true}, false, ErrNotDatabase},
		"no version":         {header(100, func(b []byte) { b[63] = 0 }), fileHeader{changes: 7, wal: true}, false, ErrCorrupt},
		"never released":     {header(100, func(b []byte) { b[63] = 1 }), fileHeader{changes: 7, wal: true}, false, ErrNotDatabase},
		"with checksums":     {header(100, func(b []byte) { b[63], b[20] = 3, 8 }), fileHeader{changes: 7, wal: true}, false, nil},
		"checksums void":     {header(100, func(b []byte) { b[20] = 8 }), fileHeader{changes: 7, wal: true}, false, roomfile.ErrOldChecksums},
		"no place for them":  {header(100, func(b []byte) { b[63] = 3 }), fileHeader{changes: 7, wal: true}, false, ErrCorrupt},
		"another place":      {header(100, func(b []byte) { b[63], b[20] = 3, 9 }), fileHeader{changes: 7, wal: true}, false, ErrCorrupt},
		"reserved bytes":     {header(100, func(b []byte) { b[20] = 4 }), fileHeader{changes: 7, wal: true}, false, ErrCorrupt},
		"the version behind": {header(100, func(b []byte) { b[63] = 4 }), fileHeader{changes: 7, wal: true}, false, ErrNewer},
	} {
		path := filepath.Join(t.TempDir(), "r.db")
		write(t, path, c.content)
		h, fresh, err := readHeader(HostFS(), path)
		if fresh != c.fresh || !errors.Is(err, c.err) || (h != nil) != (c.want != none) || h != nil && *h != c.want {
			t.Errorf("%s: %+v, fresh %v, %v", name, h, fresh, err)
		}
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		path := filepath.Join(t.TempDir(), "r.db")
		if _, fresh, err := readHeader(HostFS(), path); err != nil || !fresh {
			t.Errorf("no file: fresh %v, %v", fresh, err)
		}
		write(t, path+suffix, "")
		if _, _, err := readHeader(HostFS(), path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s alone: %v", suffix, err)
		}
		write(t, path, "")
		if _, _, err := readHeader(HostFS(), path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s and an empty file: %v", suffix, err)
		}
	}
}

// How a point in a room's history is written, and which states are before it.
func TestPoints(t *testing.T) {
	at := time.UnixMilli(clock)
	const text = "2023-11-14T22:13:20.000Z"
	for p, want := range map[Point]string{{Seq: 5}: "seq 5", {}: "seq 0", {Time: at}: text, {Seq: 5, Time: at}: "seq 5 (" + text + ")"} {
		if got := p.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	err := (&HistoryError{Asked: Point{Seq: 1}, Newest: Point{Seq: 9}, Err: ErrNoHistory}).Error()
	if strings.Contains(err, "oldest") || !strings.Contains(err, "seq 1") || !strings.Contains(err, "seq 9") {
		t.Error(err)
	}
	err = (&HistoryError{Asked: Point{Seq: 1}, Oldest: Point{Seq: 4}, Newest: Point{Seq: 9}, Err: ErrNoHistory}).Error()
	if !strings.Contains(err, "the oldest is at seq 4") {
		t.Error(err)
	}
	e := LogEntry{Seq: 5, At: clock}
	for p, want := range map[Point]bool{
		{}: true, {Seq: 5}: true, {Seq: 4}: false, {Seq: 6}: true, {Time: at}: true, {Time: at.Add(-time.Millisecond)}: false, {Time: at.Add(time.Millisecond)}: true,
		{Seq: 4, Time: at}: false, {Seq: 5, Time: at.Add(-time.Millisecond)}: false, {Seq: 5, Time: at}: true,
	} {
		if got := p.NotBefore(e); got != want {
			t.Errorf("%v is behind seq 5 at %v: %v", p, at, got)
		}
	}
	now := at.Add(time.Hour)
	for _, c := range []struct {
		p    Point
		at   int64
		want bool
	}{
		{Point{Seq: 5}, clock, false},
		{Point{Seq: 6}, clock, true},
		{Point{Time: now}, clock, false},
		{Point{Time: now.Add(time.Millisecond)}, clock, true},
		{Point{Seq: 5, Time: now.Add(time.Millisecond)}, clock, true},
		{Point{Time: now.Add(time.Millisecond)}, now.UnixMilli() + 1, false}, // the clock was set back
		{Point{Time: now.Add(time.Millisecond)}, now.UnixMilli(), true},
	} {
		err := c.p.NotYet(LogEntry{Seq: 5, At: c.at}, now)
		if errors.Is(err, ErrNotYet) != c.want || (err == nil) == c.want {
			t.Errorf("%v of a room at seq 5, %d: %v", c.p, c.at, err)
		}
	}
}
