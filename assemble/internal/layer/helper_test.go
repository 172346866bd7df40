package layer

import (
	"context"
	"encoding/binary"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// site is a directory under test: names to contents.
type site map[string]string

func (s site) write(t testing.TB, dir string) {
	t.Helper()
	for name, content := range s {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// scan lists a directory as package scan does, under the prefix "www".
func scan(t testing.TB, dir string) Tree {
	t.Helper()
	tree := Tree{Dir: dir, ScannedAt: time.Now().UnixNano()}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		e := Entry{Name: path.Join("www", filepath.ToSlash(rel)), Mode: 0o644}
		switch {
		case d.IsDir():
			e.Kind, e.Mode = Dir, 0o755
		case d.Type() == fs.ModeSymlink:
			e.Kind = Link
			if e.Target, err = os.Readlink(file); err != nil {
				return err
			}
		default:
			e.Source, e.Size = rel, info.Size()
			e.MTime, e.CTime, e.Inode = info.ModTime().UnixNano(), ctimeOf(info), inodeOf(info)
		}
		tree.Entries = append(tree.Entries, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	Sort(tree.Entries)
	return tree
}

// settled is a tree whose files were all written long before the scan, as far as
// its stats tell.
func (t Tree) settled() Tree {
	t.ScannedAt += int64(time.Hour)
	return t
}

func mustBuild(t testing.TB, tree Tree, o Options) (*Layer, *Record) {
	t.Helper()
	if o.Compression == "" {
		o.Compression = Gzip
	}
	if o.Temp == "" {
		o.Temp = t.TempDir()
	}
	l, r, err := Build(context.Background(), tree, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, r
}

// poolSize is more than any file of a test has.
const poolSize = 5 << 20

// text returns n bytes that compress about as scripts do; another seed gives others.
func text(seed, n int) string { return cutPool(textPool(), seed, n) }

// noise returns n bytes that do not compress.
func noise(seed, n int) string { return cutPool(noisePool(), seed, n) }

func cutPool(pool string, seed, n int) string {
	at := seed * 40_009 % (len(pool) - n)
	return pool[at : at+n]
}

var textPool = sync.OnceValue(func() string {
	words := []string{"function", "return", "const ", "=>", "(", ")", "{", "}", ";", "e.t", "null",
		"export", "import", "\"use strict\"", ",", "this.", "await "}
	b := make([]byte, 0, poolSize+32)
	for x := uint64(12345); len(b) < poolSize; {
		x = x*6364136223846793005 + 1442695040888963407
		b = append(b, words[x>>33%uint64(len(words))]...)
		b = append(b, byte('a'+x>>40%26), byte('a'+x>>48%26))
	}
	return string(b)
})

var noisePool = sync.OnceValue(func() string {
	b := make([]byte, 0, poolSize+8)
	for x := uint64(1); len(b) < poolSize; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = binary.BigEndian.AppendUint64(b, x*0x2545f4914f6cdd1d)
	}
	return string(b)
})
