package storage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/denrooms/den/storage/sqlite"
)

// otherProcess names, in the environment of a test binary that plays another program, the file that
// this one tries to write to.
const otherProcess = "DEN_TEST_WRITE_TO"

// TestOtherProcess is the other program.
func TestOtherProcess(t *testing.T) {
	path := os.Getenv(otherProcess)
	if path == "" {
		return // nobody plays
	}
	c, err := sqlite.OpenConn("", path, sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("said:", failed(c.ExecScript("INSERT INTO todos VALUES (999, 'intruder', 0, 0, NULL)")))
}

func writeFromOtherProcess(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOtherProcess$", "-test.v")
	cmd.Env = append(os.Environ(), otherProcess+"="+path)
	out, err := cmd.CombinedOutput()
	_, said, ok := strings.Cut(string(out), "said: ")
	if err != nil || !ok {
		t.Fatalf("the other process: %v\n%s", err, out)
	}
	said, _, _ = strings.Cut(said, "\n")
	return said
}

// Whatever this process does with a live room's file by other descriptors, no other process can
// write into it.
func TestInvariantSingleWriterOtherDescriptors(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, o Options)
	}{
		{"nothing", func(*testing.T, Options) {}},
		{"the program opens and closes it", func(t *testing.T, o Options) {
			f, err := os.Open(o.Path)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}},
		{"a second Open", func(t *testing.T, o Options) {
			if _, err := Open(o); !errors.Is(err, ErrInUse) {
				t.Errorf("Open: %v, want ErrInUse", err)
			}
		}},
		{"a restore from it", func(t *testing.T, o Options) {
			source := o.Path
			o.Path += "2"
			if _, err := archived.restore(o, source); !errors.Is(err, ErrInUse) {
				t.Errorf("PrepareRestore: %v, want ErrInUse", err)
			}
		}},
		{"a look into it", func(t *testing.T, o Options) {
			if _, _, err := OpenBackup(HostFS(), o.Path); !errors.Is(err, ErrInUse) {
				t.Errorf("OpenBackup: %v, want ErrInUse", err)
			}
		}},
		{"a look at its name", func(t *testing.T, o Options) {
			if _, err := ReadRoomName(HostFS(), o.Path); !errors.Is(err, ErrInUse) {
				t.Errorf("ReadRoomName: %v, want ErrInUse", err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions(t)
			log, err := OpenLog(LogOptions{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			o.Log = log
			d := powerRoom(t, o)
			defer d.Close()
			if err := put(d, 1, "x"); err != nil {
				t.Fatal(err)
			}
			d.AfterCommit()
			c.do(t, o)
			if said := writeFromOtherProcess(t, o.Path); !strings.Contains(said, "locked") {
				t.Errorf("the other process: %s", said)
			}
			if err := put(d, 2, "y"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What is not open can be written to: the test above tests something.
func TestOtherProcessCanWrite(t *testing.T) {
	o := testOptions(t)
	d := powerRoom(t, o)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if said := writeFromOtherProcess(t, o.Path); said != "<nil>" {
		t.Errorf("the other process: %s", said)
	}
}
