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
	"github.com/denrooms/den/storage/pagelog"
	"github.com/denrooms/den/storage/sqlite"
)

// The last name that is allowed, and the first that is not; the last byte of a range, and the one behind it.
func TestNamesAtTheirLimits(t *testing.T) {
	for name, want := range map[string]string{
		"/0": "%2f0", "9:": "9%3a", "@A": "%40+a", "Z[": "+z%5b", "`a": "%60a", "z{": "z%7b", "-.": "-%2e", "_": "_", "^": "%5e", ",": "%2c",
		"com0": "%63om0", "com9": "%63om9", "com": "com", "com:": "com%3a", "com10": "com10", "comx": "comx", "com/": "com%2f",
		"lpt1": "%6cpt1", "lpx1": "lpx1", "aux": "%61ux", "prn": "%70rn", "nul": "%6eul",
		strings.Repeat("x", 200): strings.Repeat("x", 200), "x": "x",
	} {
		if got, err := Escape(name); err != nil || got != want {
			t.Errorf("Escape(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	const hashed = keptEscaped + 1 + 64
	for n, want := range map[int]int{200: 200, 201: hashed, 256: hashed} {
		if got, err := Escape(strings.Repeat("x", n)); err != nil || len(got) != want {
			t.Errorf("%d bytes: %q, %v", n, got, err)
		}
	}
	for namespace, is := range map[string]bool{
		"a": true, "z": true, "0": true, "9": true, "-": true, "a-1": true, strings.Repeat("a", 64): true, "com1": true,
		"": false, "`": false, "{": false, "/": false, ":": false, "A": false, "_": false, ".": false, strings.Repeat("a", 65): false,
	} {
		path, err := Path("data", namespace, "room")
		if is != (err == nil) || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("namespace %q: %v", namespace, err)
		}
		dir := namespace
		if namespace == "com1" {
			dir = "com1_"
		}
		if parts := strings.Split(path, string(filepath.Separator)); is && (len(parts) != 4 || parts[1] != dir || len(parts[2]) != 2 || parts[3] != "room.db") {
			t.Errorf("namespace %q: %q", namespace, path)
		}
	}
	if _, err := Path("data", "n", ""); !errors.Is(err, ErrName) {
		t.Errorf("a room without a name: %v", err)
	}
}

// What the name of a file says of its room is the room's name, and a name that no room gives is none.
func TestRoomFileNames(t *testing.T) {
	for escaped, want := range map[string]string{
		"a": "a", "+a": "A", "a+z": "aZ", "%00": "\x00", "a%2e": "a.", "%63on": "con", "%e2%82%ac": "€",
		"": "", "+": "", "a+": "", "%": "", "%2": "", "a%2": "", "%2g": "", "A": "", "a.": "", "%61": "", "+1": "", "con": "",
	} {
		path, err := Path("data", "n", want)
		if want == "" || err != nil {
			path = filepath.Join("data", "n", "00", escaped+".db")
		}
		got, is := roomFile("data", "n", filepath.Join(filepath.Dir(path), escaped+".db"))
		if is != (want != "") || is && got != (RoomFile{path, want}) {
			t.Errorf("%q: %+v, %v", escaped, got, is)
		}
	}
	long := strings.Repeat("x", 120) + "~" + strings.Repeat("0", 64)
	for name, is := range map[string]bool{long: true, long + "0": false, long[1:]: false, strings.Replace(long, "~", "-", 1): false} {
		path := filepath.Join("data", "n", "00", name+".db")
		if got, found := roomFile("data", "n", path); found != is || is && got != (RoomFile{Path: path}) {
			t.Errorf("%q: %+v, %v", name, got, found)
		}
	}
	if _, is := roomFile("data", "n", filepath.Join("data", "n", "00", "a")); is {
		t.Error("a file without the ending is a room's")
	}
	for name, want := range map[string]string{
		"a.db.before-restore-20261121T105002.308Z":               "a.db.before-restore-20261121T105002.308Z",
		"a.db.before-restore-20261121T105002.308Z-2":             "a.db.before-restore-20261121T105002.308Z-2",
		"a.db.before-restore-20261121T105002.308Z-wal":           "a.db.before-restore-20261121T105002.308Z",
		"a.db.before-restore-20261121T105002.308Z-2-wal":         "a.db.before-restore-20261121T105002.308Z-2",
		"a.db.before-restore-20261121T105002.308Z" + asideSuffix: "a.db.before-restore-20261121T105002.308Z",
		"a.db.before-restore-20261121T105002.308":                "",
		"a.db.before-restore-20261321T105002.308Z":               "",
		"a.db":                                  "",
		"a.before-restore-20261121T105002.308Z": "",
	} {
		file, at, is := replacedAt(name)
		if is != (want != "") || is && (file != want || !at.Equal(time.Date(2026, 11, 21, 10, 50, 2, 308e6, time.UTC))) {
			t.Errorf("%q: %q of %v, %v", name, file, at, is)
		}
	}
}

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
		got, err := o.withDefaults()
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrMisuse) {
			t.Errorf("%s: %v", name, err)
		}
		if o.Log != nil && got.Synchronous != Normal {
			t.Errorf("%s: synchronous is %d", name, got.Synchronous)
		}
	}
	o, err := Options{Path: "x"}.withDefaults()
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
		d := &DB{o: Options{MaxBytes: c.limit * pageSize}, wal: &wal{pages: c.pages}}
		if got := d.mayFill(); got != c.want {
			t.Errorf("%d pages of %d: %v", c.pages, c.limit, got)
		}
		d.wal = nil
		if !d.mayFill() {
			t.Errorf("%d pages without a log: not measured", c.limit)
		}
	}
}

// Which statements only delete.
func TestOnlyDeletes(t *testing.T) {
	for sql, want := range map[string][2]bool{
		"DELETE FROM t": {true, true}, " \t\r\n\f;delete from t": {true, true}, "UPDATE t SET deleted_at = 1": {false, true}, "update t SET deleted_at = 1": {false, true},
		"INSERT INTO t VALUES (1)": {}, "WITH x AS (SELECT 1) DELETE FROM t": {}, "DELETED": {}, "": {},
	} {
		if got := [2]bool{onlyDeletes(sql, false), onlyDeletes(sql, true)}; got != want {
			t.Errorf("%q: %v, want %v", sql, got, want)
		}
	}
}

// Which errors of Open refuse a room, so that its entries are moved out of the log: not those that waiting mends, whatever else they are.
func TestRefusal(t *testing.T) {
	for _, err := range []error{ErrNotDatabase, ErrCorrupt, ErrNewer, ErrWrongRoom, ErrLogMismatch, ErrLogMissing, ErrIO} {
		if !refusal(fmt.Errorf("open: %w", err)) {
			t.Errorf("%v is no refusal", err)
		}
		for _, passing := range []error{ErrInUse, ErrFull, ErrReadOnly, ErrClosed, ErrInterrupted} {
			if refusal(errors.Join(err, passing)) || refusal(passing) {
				t.Errorf("%v and %v is a refusal", err, passing)
			}
		}
	}
	if refusal(errors.New("something")) || refusal(ErrMisuse) {
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
	if got := diagnose(path, said(sqlite.ResultBusy)); !errors.Is(got, ErrInUse) || !strings.Contains(got.Error(), "another process") {
		t.Error(got)
	}
	if err := error(said(sqlite.ResultCorrupt)); diagnose(path, err) != err {
		t.Error("an error of SQLite's is told otherwise")
	}
	if got := diagnose(path, said(sqlite.ResultCantOpen)); !errors.Is(got, ErrIO) || !errors.Is(got, fs.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", got)
	}
	if err := error(said(sqlite.ResultCantOpen)); diagnose(filepath.Join(t.TempDir(), "r.db"), err) != err {
		t.Error("in a directory in which nothing is amiss something is said")
	}
	for code, want := range map[sqlite.ResultCode]error{
		sqlite.ResultConstraint: ErrConstraint, sqlite.ResultFull: ErrFull, sqlite.ResultReadOnly: ErrReadOnly, sqlite.ResultPerm: ErrReadOnly, sqlite.ResultBusy: ErrInUse,
		sqlite.ResultLocked: ErrInUse, sqlite.ResultIOErr: ErrIO, sqlite.ResultCantOpen: ErrIO, sqlite.ResultCorrupt: ErrCorrupt, sqlite.ResultNotADB: ErrNotDatabase,
		sqlite.ResultInterrupt: ErrInterrupted, sqlite.ResultAuth: ErrForbidden, sqlite.ResultTooBig: ErrTooLarge, sqlite.ResultMisuse: ErrMisuse, sqlite.ResultError: nil,
	} {
		for _, code := range []sqlite.ResultCode{code, code | 5<<8} {
			if got := said(code).Unwrap(); got != want {
				t.Errorf("code %d: %v, want %v", code, got, want)
			}
		}
	}
	for code, want := range map[sqlite.ResultCode]bool{
		sqlite.ResultError: true, sqlite.ResultInternal: true, sqlite.ResultFormat: true, sqlite.ResultMismatch: true, sqlite.ResultSchema: true, sqlite.ResultFull: false, sqlite.ResultBusy: false,
	} {
		if got := errors.Is(damaged(said(code)), ErrCorrupt); got != want {
			t.Errorf("code %d means damage: %v", code, got)
		}
	}
	if err := error(said(sqlite.ResultCorrupt)); damaged(err) != err || damaged(syscall.EIO) != syscall.EIO {
		t.Error("what is no error of a statement's is called damage")
	}
	for theirs, ours := range map[error]error{
		commitlog.ErrFull: ErrFull, commitlog.ErrTooLarge: ErrTooLarge, commitlog.ErrCorrupt: ErrLogMismatch, commitlog.ErrGap: ErrLogMismatch, commitlog.ErrLost: ErrLogMissing,
		commitlog.ErrNewer: ErrNewer, commitlog.ErrOlder: ErrLogMismatch, commitlog.ErrMisuse: ErrInUse, commitlog.ErrClosed: ErrClosed, syscall.EIO: ErrIO,
	} {
		if got := logError(fmt.Errorf("x: %w", theirs)); !errors.Is(got, ours) || !errors.Is(got, theirs) || ours != ErrIO && errors.Is(got, ErrIO) {
			t.Errorf("%v: %v, want %v", theirs, got, ours)
		}
		if got := roomLogError(theirs); !errors.Is(got, ours) || strings.Contains(got.Error(), "-abandon") != (theirs == commitlog.ErrLost) {
			t.Errorf("of a room, %v: %v", theirs, got)
		}
	}
	for theirs, ours := range map[error]error{pagelog.ErrCorrupt: ErrCorrupt, pagelog.ErrNewer: ErrNewer, pagelog.ErrMismatch: ErrLogMismatch, pagelog.ErrDiverged: ErrNoHistory} {
		if got := pagesError(fmt.Errorf("x: %w", theirs)); !errors.Is(got, ours) || !errors.Is(got, theirs) {
			t.Errorf("%v: %v, want %v", theirs, got, ours)
		}
	}
	if logError(nil) != nil || roomLogError(nil) != nil || pagesError(nil) != nil {
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
		"empty":              {"", none, true, nil},
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
		"the version behind": {header(100, func(b []byte) { b[63] = 3 }), fileHeader{changes: 7, wal: true}, false, ErrNewer},
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
		if got := p.isBehind(e); got != want {
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
		err := c.p.notYet(LogEntry{Seq: 5, At: c.at}, now)
		if errors.Is(err, ErrNotYet) != c.want || (err == nil) == c.want {
			t.Errorf("%v of a room at seq 5, %d: %v", c.p, c.at, err)
		}
	}
}

// The note of the seq that a restore began with: whatever is wrong with it, the next one is above it.
func TestNotedSeq(t *testing.T) {
	o, err := testOptions(t).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := aboveAll(o, 7); err != nil || got != 7+1<<32 {
		t.Errorf("without a note: %d, %v", got, err)
	}
	for _, seq := range []Seq{0, 1, 1 << 40} {
		if err := noteSeq(o, seq); err != nil {
			t.Fatal(err)
		}
		got, err := notedSeq(o)
		above, e := aboveAll(o, 5)
		if err != nil || e != nil || got != seq || above != max(seq, 5)+1<<32 {
			t.Errorf("noted %d: %d, and %d above all, %v, %v", seq, got, above, err, e)
		}
	}
	line := fileContent(t, o.Path+seqSuffix)
	for _, spoiled := range []string{"", line[1:], line[:len(line)-1], strings.Replace(line, "1099", "1098", 1), line + "x"} {
		write(t, o.Path+seqSuffix, spoiled)
		if got, err := notedSeq(o); err != nil || got != 1<<44 {
			t.Errorf("%q: %d, %v", spoiled, got, err)
		}
	}
	const most = 1<<62 - 1<<32 - 1 // and 2^32 more is half of what a seq can be
	if err := noteSeq(o, most); err != nil {
		t.Fatal(err)
	}
	if got, err := aboveAll(o, 0); err != nil || got != 1<<62-1 {
		t.Errorf("the highest: %d, %v", got, err)
	}
	for _, known := range []Seq{most + 1, 1 << 62} {
		if _, err := aboveAll(o, known); !errors.Is(err, ErrTooLarge) {
			t.Errorf("above %d: %v", known, err)
		}
	}
}
