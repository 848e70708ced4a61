package commitlog

import (
	"testing"

	"github.com/denrooms/den/storage/faultdisk"
)

// TestOutdatedCurrentOnAFailingDisk: the log is made again from its segments where CURRENT is older than they are, also
// where the disk fails while that is looked for; or it is not opened. No entry is lost.
func TestOutdatedCurrentOnAFailingDisk(t *testing.T) {
	for _, generations := range []uint64{1, 3} {
		testOutdatedCurrent(t, generations)
	}
}

// testOutdatedCurrent has a CURRENT that is so many generations old.
func testOutdatedCurrent(t *testing.T, generations uint64) {
	disk := faultdisk.New(1)
	clock := newClock()
	l := mustOpen(t, testOptions(disk, clock))
	appendUpTo(t, mustRoom(t, l, "a"), 1, 3)
	mustClose(t, l)
	old, err := disk.Read("log/" + currentName)
	if err != nil {
		t.Fatal(err)
	}
	for n := range generations {
		l = mustOpen(t, testOptions(disk, clock))
		appendUpTo(t, mustRoom(t, l, "a"), 4+2*n, 5+2*n)
		mustClose(t, l)
	}
	disk.Write("log/"+currentName, old)
	opened := 0
	for _, op := range []faultdisk.Op{faultdisk.OpOpen, faultdisk.OpRead} {
		for after := range 12 {
			for times := range 4 {
				d := disk.Clone(uint64(after))
				d.Fail(faultdisk.Fault{Op: op, Suffix: ".log", After: after, Times: times + 1})
				l, err := Open(testOptions(d, clock))
				d.Heal()
				if err == nil {
					opened++
					mustClose(t, l)
				}
				l = mustOpen(t, testOptions(d, clock))
				if first, last, err := mustRoom(t, l, "a").Range(); first != 1 || last != 3+2*generations || err != nil {
					t.Errorf("%d times %v fails after %d: the room has entries %d to %d, %v", times+1, op, after, first, last, err)
				}
				mustClose(t, l)
			}
		}
	}
	if opened == 0 {
		t.Error("the log was never opened")
	}
}
