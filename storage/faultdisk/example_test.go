package faultdisk_test

import (
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/denrooms/den/storage/faultdisk"
)

// A log that syncs its content and forgets its name.
func Example() {
	appendEntry := func(d *faultdisk.Disk) error {
		f, err := d.OpenFile("data/log", os.O_CREATE)
		if err != nil {
			return err
		}
		if _, err := f.Write([]byte("entry")); err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close()) // and no d.SyncDir("data")
	}
	lost := 0
	for seed := range uint64(100) {
		disk := faultdisk.New(seed)
		disk.MkdirAll("data")
		if err := appendEntry(disk); err != nil {
			log.Fatal(err)
		}
		disk.Crash()
		if err := disk.Restart(); err != nil {
			log.Fatal(err)
		}
		if len(disk.Files()) == 0 {
			lost++
		}
	}
	fmt.Println("lost with the name:", lost > 0)
	// Output: lost with the name: true
}
