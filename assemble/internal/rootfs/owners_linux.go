package rootfs

import (
	"bufio"
	"fmt"
	"os"
)

// An ownerTable is the file that keeps the owners of one layer, which its files on
// disk do not have. A line is "UID GID NAME" with the name quoted as in Go; the
// last line of a name counts; a name without one belongs to 0:0.
type ownerTable struct {
	file *os.File
	w    *bufio.Writer
}

func createOwners(name string) (*ownerTable, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &ownerTable{file: f, w: bufio.NewWriter(f)}, nil
}

// add keeps an error for close, as bufio does.
func (t *ownerTable) add(name string, uid, gid int) {
	fmt.Fprintf(t.w, "%d %d %q\n", uid, gid, name)
}

func (t *ownerTable) close() error {
	err := t.w.Flush()
	if cerr := t.file.Close(); err == nil {
		err = cerr
	}
	return err
}
