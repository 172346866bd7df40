package context

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// The file of sums: a line with its version, the records sorted by path, and the
// sha256 of all that.
const (
	sumsMagic      = "decant sums 1\n"
	sumRecordBytes = 16 + 4*8 + sha256.Size + 4
	keptDays       = 30 // that a sum stays without being used
)

// load takes what is in the file, all or nothing.
func (s *Sums) load() {
	// Opening a fifo would block, and only a damaged cache has one.
	info, err := os.Lstat(s.file)
	limit := int64(len(sumsMagic)) + int64(s.max)*sumRecordBytes + sha256.Size
	if err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return
	}
	f, err := os.Open(s.file)
	if err != nil {
		return
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return
	}
	s.known = decodeSums(data)
}

// decodeSums returns what the bytes of a file say, nothing if they are damaged.
func decodeSums(data []byte) map[pathSum]knownSum {
	known := map[pathSum]knownSum{}
	body, ok := bytes.CutPrefix(data, []byte(sumsMagic))
	if !ok || len(body) < sha256.Size || (len(body)-sha256.Size)%sumRecordBytes != 0 {
		return known
	}
	end := len(data) - sha256.Size
	if sha256.Sum256(data[:end]) != [sha256.Size]byte(data[end:]) {
		return known
	}
	for record := range slices.Chunk(body[:len(body)-sha256.Size], sumRecordBytes) {
		k := knownSum{
			size:  int64(binary.BigEndian.Uint64(record[16:])),
			mtime: int64(binary.BigEndian.Uint64(record[24:])),
			ctime: int64(binary.BigEndian.Uint64(record[32:])),
			inode: binary.BigEndian.Uint64(record[40:]),
			sum:   [sha256.Size]byte(record[48:]),
			day:   binary.BigEndian.Uint32(record[80:]),
		}
		known[pathSum(record)] = k
	}
	return known
}

// Save writes what is remembered to the file, in place of what is there, if there is
// anything new. Of two processes that save, one wins. What was not used for a month
// is forgotten.
func (s *Sums) Save() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == "" || !s.dirty {
		return nil
	}
	if err := s.save(); err != nil {
		return fmt.Errorf("remembering the sums of files in %s: %w", s.file, err)
	}
	s.dirty = false
	return nil
}

func (s *Sums) save() (err error) {
	f, err := os.CreateTemp(filepath.Dir(s.file), filepath.Base(s.file)+".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = s.encode(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.file)
}

func (s *Sums) encode(w io.Writer) error {
	keys := make([]pathSum, 0, len(s.known))
	for key, k := range s.known {
		if k.day+keptDays >= s.today {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b pathSum) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	buffered := bufio.NewWriterSize(w, 64<<10)
	both := io.MultiWriter(buffered, h)
	if _, err := io.WriteString(both, sumsMagic); err != nil {
		return err
	}
	record := make([]byte, 0, sumRecordBytes)
	for _, key := range keys {
		k := s.known[key]
		record = append(record[:0], key[:]...)
		for _, n := range []uint64{uint64(k.size), uint64(k.mtime), uint64(k.ctime), k.inode} {
			record = binary.BigEndian.AppendUint64(record, n)
		}
		record = append(record, k.sum[:]...)
		record = binary.BigEndian.AppendUint32(record, k.day)
		if _, err := both.Write(record); err != nil {
			return err
		}
	}
	if _, err := buffered.Write(h.Sum(nil)); err != nil {
		return err
	}
	return buffered.Flush()
}
