package context

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// aged grows a directory whose files were written long ago, as far as their times
// tell, and lists it.
func aged(t testing.TB, names ...string) (dir string, entries []layer.Entry) {
	t.Helper()
	dir = grow(t, names...)
	for _, name := range names {
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	return dir, relist(t, dir)
}

func relist(t testing.TB, dir string) []layer.Entry {
	t.Helper()
	return must(openContext(t, dir, "").List(t.Context(), ""))
}

// settle makes a change time old as well, which no system lets anybody do.
func settle(entries []layer.Entry) []layer.Entry {
	settled := slices.Clone(entries)
	for i := range settled {
		settled[i].CTime = 0
	}
	return settled
}

func sumOf(t testing.TB, s *Sums, e layer.Entry) string {
	t.Helper()
	sum, err := s.Sum(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum)
}

func wantSum(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

func TestSumAllSumsContent(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 3*sumChunk/16) + "!"
	dir := grow(t, "a", "d/b", "d/e/c", "link -> a", "empty")
	write(t, dir, "big", big)
	write(t, dir, "empty", "")
	entries := append(relist(t, dir), layer.Entry{Name: "made", Data: []byte("made"), Size: 4})
	sums, err := OpenSums("").SumAll(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		want := wantSum(e.Name)
		switch {
		case e.Kind != layer.File:
			want = strings.Repeat("00", sha256.Size)
		case e.Name == "big":
			want = wantSum(big)
		case e.Name == "empty":
			want = wantSum("")
		case e.Base == "" && e.Name != "made":
			t.Errorf("%s has no base", e.Name)
		}
		if got := fmt.Sprintf("%x", sums[i]); got != want {
			t.Errorf("%s: got %s, want %s", e.Name, got, want)
		}
	}
}

func TestSumsAreRememberedBetweenRuns(t *testing.T) {
	dir, entries := aged(t, "x", "y")
	entries = settle(entries)
	file := filepath.Join(t.TempDir(), "sums")
	first := OpenSums(file)
	if _, err := first.SumAll(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if err := first.Save(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "x")); err != nil { // nobody looks at it again
		t.Fatal(err)
	}
	second := OpenSums(file)
	if got := sumOf(t, second, entries[0]); got != wantSum("x") {
		t.Errorf("got %s", got)
	}
	for name, change := range map[string]func(e *layer.Entry){
		"size":   func(e *layer.Entry) { e.Size++ },
		"mtime":  func(e *layer.Entry) { e.MTime++ },
		"ctime":  func(e *layer.Entry) { e.CTime++ },
		"inode":  func(e *layer.Entry) { e.Inode++ },
		"source": func(e *layer.Entry) { e.Source = "z" },
		"base":   func(e *layer.Entry) { e.Base = filepath.Join(e.Base, "z") },
	} {
		e := entries[0]
		change(&e)
		if _, err := second.Sum(t.Context(), e); err == nil {
			t.Errorf("another %s: it was not looked for", name)
		}
	}
	if names, err := os.ReadDir(filepath.Dir(file)); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestSumsDoNotRememberWhatWasJustWritten(t *testing.T) {
	dir := grow(t, "x")
	s := OpenSums("")
	entries := relist(t, dir)
	if got := sumOf(t, s, entries[0]); got != wantSum("x") {
		t.Errorf("got %s", got)
	}
	if len(s.known) != 0 {
		t.Errorf("got %d", len(s.known))
	}
	// Old enough in the finest steps, but not in those of whole seconds.
	e := settle(entries)[0]
	when := time.Now().Add(-time.Second)
	if err := os.Chtimes(filepath.Join(dir, "x"), when, when); err != nil {
		t.Fatal(err)
	}
	e.MTime = settle(relist(t, dir))[0].MTime
	sumOf(t, s, e)
	if len(s.known) != 0 {
		t.Errorf("got %d", len(s.known))
	}
}

func TestSumRefusesFilesThatAreNotWhatWasListed(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"grown":  func(file string) error { return os.WriteFile(file, []byte("longer"), 0o644) },
		"shrunk": func(file string) error { return os.Truncate(file, 0) },
		"gone":   os.Remove,
		"replaced": func(file string) error {
			return errors.Join(os.Remove(file), os.Mkdir(file, 0o755))
		},
		"a link": func(file string) error {
			return errors.Join(os.Remove(file), os.Symlink("y", file))
		},
		"a link out": func(file string) error {
			return errors.Join(os.Remove(file), os.Symlink("/etc/hostname", file))
		},
	} {
		dir, entries := aged(t, "d/x", "d/y")
		if err := change(filepath.Join(dir, "d", "x")); err != nil {
			t.Fatal(err)
		}
		_, err := OpenSums("").SumAll(t.Context(), entries)
		list, hint := contextProblems(t, err)
		if len(list) != 1 || !strings.HasPrefix(list[0], `"d/x": it `) {
			t.Errorf("%s: got %q, %q", name, list, hint)
		}
	}
}

func TestSumStopsWhenCancelled(t *testing.T) {
	_, entries := aged(t, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenSums("").SumAll(ctx, entries); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOpenSumsTakesDamageForNothing(t *testing.T) {
	_, entries := aged(t, "x", "y", "z")
	file := filepath.Join(t.TempDir(), "sums")
	s := OpenSums(file)
	if _, err := s.SumAll(t.Context(), settle(entries)); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(OpenSums(file).known); n != 3 {
		t.Fatalf("got %d", n)
	}
	damaged := map[string][]byte{"empty": {}, "cut": whole[:len(whole)-1],
		"longer": append(bytes.Clone(whole), 0), "another": append([]byte("x"), whole...),
		"less": append(bytes.Clone(whole[:len(sumsMagic)]), whole[len(sumsMagic)+sumRecordBytes:]...)}
	for at := range whole {
		if at%7 == 0 {
			flipped := bytes.Clone(whole)
			flipped[at] ^= 1
			damaged[fmt.Sprintf("byte %d", at)] = flipped
		}
	}
	for name, data := range damaged {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if n := len(OpenSums(file).known); n != 0 {
			t.Errorf("%s: got %d", name, n)
		}
	}
	if n := len(OpenSums(t.TempDir()).known); n != 0 { // a directory
		t.Errorf("got %d", n)
	}
}

func TestSumsAreBoundedAndForgetWhatIsNotUsed(t *testing.T) {
	_, entries := aged(t, "a", "b", "c", "d")
	entries = settle(entries)
	file := filepath.Join(t.TempDir(), "sums")
	run := func(day uint32, max int, entries []layer.Entry) int {
		s := OpenSums(file)
		s.today, s.max = day, max
		if _, err := s.SumAll(t.Context(), entries); err != nil {
			t.Fatal(err)
		}
		if err := s.Save(); err != nil {
			t.Fatal(err)
		}
		return len(OpenSums(file).known)
	}
	for _, step := range []struct {
		day       uint32
		max, from int
		to, want  int
	}{
		{100, 2, 0, 3, 2}, // one is too many
		{101, 2, 2, 3, 1}, // the old ones make room
		{102, 9, 0, 4, 4}, // all
		{131, 9, 0, 1, 4}, // 29 days later: nothing is old
		{133, 9, 0, 2, 2}, // 31 days later: the others are
		{133, 9, 0, 2, 2}, // nothing new
		{300, 9, 3, 4, 1}, // long after
		{300, 9, 0, 0, 1}, // nothing asked for, nothing lost
		{300, 1, 3, 4, 1}, // full, and known
		{300, 1, 0, 1, 1}, // full
	} {
		if got := run(step.day, step.max, entries[step.from:step.to]); got != step.want {
			t.Errorf("%+v: got %d", step, got)
		}
	}
}

func TestSaveLeavesNothingBehindWhenItCannot(t *testing.T) {
	_, entries := aged(t, "x")
	dir := t.TempDir()
	s := OpenSums(filepath.Join(dir, "sums"))
	if _, err := s.SumAll(t.Context(), settle(entries)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sums", "x"), 0o755); err != nil { // in its place
		t.Fatal(err)
	}
	if err := s.Save(); err == nil {
		t.Error("it was saved")
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestSumsServeManyAtOnce(t *testing.T) {
	var names []string
	for i := range 300 {
		names = append(names, fmt.Sprintf("d%d/%d", i%7, i))
	}
	_, entries := aged(t, names...)
	entries = settle(entries)
	s := OpenSums(filepath.Join(t.TempDir(), "sums"))
	done := make(chan error)
	for range 4 {
		go func() {
			_, err := s.SumAll(context.Background(), entries)
			done <- errors.Join(err, s.Save())
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, e := range entries {
		if e.Kind == layer.File && sumOf(t, s, e) != wantSum(e.Name) {
			t.Errorf("%s differs", e.Name)
		}
	}
}

// FuzzDecodeSums vouches for bytes of all kinds, or nearly none would be looked at.
func FuzzDecodeSums(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{1}, sumRecordBytes))
	f.Add(bytes.Repeat([]byte{0xff}, 2*sumRecordBytes+1))
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(sumsMagic), body...)
		sum := sha256.Sum256(data)
		s := &Sums{known: decodeSums(append(data, sum[:]...))}
		if len(body)%sumRecordBytes != 0 && len(s.known) > 0 {
			t.Errorf("%d bytes were taken", len(body))
		}
		var again bytes.Buffer
		if err := s.encode(&again); err != nil {
			t.Fatal(err)
		}
		if got := decodeSums(again.Bytes()); !maps.Equal(got, s.known) {
			t.Errorf("got %d, want %d", len(got), len(s.known))
		}
	})
}
