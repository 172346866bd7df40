package rootfs

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// recordVersion changes when what a layer unpacks to changes.
const recordVersion = 2

// A record lies beside the directory of a whole layer or step.
type record struct {
	Version int    `json:"version"`
	Chain   string `json:"chain"`
	DiffID  string `json:"diffID,omitempty"`
	Digest  string `json:"digest,omitempty"`
	// Opaque is a layer that deletes all below it. Overlayfs does not look for
	// the attribute at the root of a layer.
	Opaque  bool   `json:"opaque,omitempty"`
	Entries int    `json:"entries"`
	Devices int    `json:"devices,omitempty"`
	Xattrs  int    `json:"xattrs,omitempty"`
	Tally   tally  `json:"tally"`
	Boot    string `json:"boot"`
}

// A tally tells a directory that is as it was from one that lost content in a
// crash. Writing a layer to disk at once (syncfs) would cost seconds, and what a
// crash takes from files that were not written yet is their length.
type tally struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	Disk  int64 `json:"disk"`
}

// tallyOf counts below a directory. What the caller may not list does not count,
// now or later.
func tallyOf(dir string) (tally, error) {
	var t tally
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return fs.SkipDir
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		t.Files++
		if info.Mode().IsRegular() {
			t.Bytes += info.Size()
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			t.Disk += st.Blocks * 512 / max(1, linksOf(info, st))
		}
		return nil
	})
	return t, err
}

// linksOf is by how many names the blocks of a file are to be divided.
func linksOf(info fs.FileInfo, st *syscall.Stat_t) int64 {
	if info.IsDir() {
		return 1
	}
	return int64(st.Nlink)
}

// intact says whether a directory still is what was recorded. Blocks may differ:
// they are allocated late.
func (t tally) intact(now tally) bool { return t.Files == now.Files && t.Bytes == now.Bytes }

// bootID changes when the system starts. Where it is unknown no two are equal.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// readRecord reads the record in a layer's directory. One that is damaged is none.
func readRecord(name string) (record, bool) {
	var r record
	b, err := os.ReadFile(name)
	if err != nil || json.Unmarshal(b, &r) != nil || r.Version != recordVersion {
		return record{}, false
	}
	return r, true
}

// write replaces the record at name.
func (r record) write(name string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return replaceFile(name, b)
}

// replaceFile does not wait for the disk: a record or an index that a crash damages
// is none, and what it is of is made again.
func replaceFile(name string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".new")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
