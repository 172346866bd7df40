//go:build linux

package rootfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// manyEntries are those of a node_modules.
func manyEntries(n, size int) []layer.Entry {
	entries := []layer.Entry{{Name: "node_modules", Kind: layer.Dir, Mode: 0o755}}
	data := make([]byte, size)
	for i := 0; len(entries) < n; i++ {
		dir := fmt.Sprintf("node_modules/package-%05d", i)
		entries = append(entries, layer.Entry{Name: dir, Kind: layer.Dir, Mode: 0o755})
		for _, sub := range []string{"dist", "dist/esm", "src"} {
			entries = append(entries, layer.Entry{Name: dir + "/" + sub, Kind: layer.Dir, Mode: 0o755})
			for j := range 5 {
				entries = append(entries, layer.Entry{
					Name: fmt.Sprintf("%s/%s/module-%d.js", dir, sub, j), Mode: 0o644,
					Size: int64(size), Data: data, MTime: 1e18,
				})
			}
		}
	}
	layer.Sort(entries)
	return entries
}

func BenchmarkReadIndexOf100kEntries(b *testing.B) {
	home := b.TempDir()
	entries := manyEntries(100_000, 0)
	index := encodeIndex(entries, home)
	if err := os.WriteFile(filepath.Join(home, "entries"), index, 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(index)))
	b.ReportAllocs()
	for b.Loop() {
		if got, ok := readIndex(home); !ok || len(got) != len(entries) {
			b.Fatal("the index cannot be read")
		}
	}
}

// BenchmarkStep writes 20,000 entries with files of 4 KiB, and adopts what that made.
func BenchmarkStep(b *testing.B) {
	ctx := context.Background()
	entries := manyEntries(20_000, 4<<10)
	b.Run("write", func(b *testing.B) {
		s := openStore(b)
		for i := 0; b.Loop(); i++ {
			step, err := s.Write(ctx, keyOf(fmt.Sprint(i)), entries, nil)
			closes(b, step, err)
		}
	})
	b.Run("adopt", func(b *testing.B) {
		s := openStore(b)
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			step, err := s.Write(ctx, keyOf(fmt.Sprint("w", i)), entries, nil)
			closes(b, step, err)
			upper := filepath.Join(s.Temp(), "upper")
			if err := os.Rename(step.Dir, upper); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			step, err = s.Adopt(ctx, keyOf(fmt.Sprint("a", i)), upper, AdoptOptions{})
			closes(b, step, err)
		}
	})
}
