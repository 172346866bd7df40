//go:build unix

package context

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func TestListKeepsModesAndTakesNoOwners(t *testing.T) {
	dir := grow(t, "dir/script", "dir/plain", "link -> dir")
	modes := map[string]uint32{"dir": 0o1750, "dir/script": 0o4755, "dir/plain": 0o600}
	for name, mode := range modes {
		if err := syscall.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	c := openContext(t, dir, "")
	for _, e := range must(c.List(t.Context(), "")) {
		if e.Kind != layer.Link && e.Mode != modes[e.Name] || e.UID != 0 || e.GID != 0 {
			t.Errorf("%s: %o, %d:%d", e.Name, e.Mode, e.UID, e.GID)
		}
		if e.Kind == layer.File && (e.Base != dir || e.Source != e.Name || e.MTime == 0 ||
			e.Inode == 0 || e.Size != int64(len(e.Name))) {
			t.Errorf("%+v", e)
		}
	}
}

func TestListLeavesOutFifosUnlessTheyAreAskedFor(t *testing.T) {
	dir := grow(t, "a/x")
	if err := syscall.Mkfifo(filepath.Join(dir, "a", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := openContext(t, dir, "")
	for range 2 {
		if got := listed(t, c, "a"); !slices.Equal(got, []string{"a/", "a/x"}) {
			t.Errorf("got %q", got)
		}
	}
	if w := c.Warnings(); len(w) != 1 || w[0].String() != `"a/pipe": it is a fifo, and is left out` {
		t.Errorf("got %q", w)
	}
	_, err := c.List(t.Context(), "a/pipe")
	list, _ := contextProblems(t, err)
	if !slices.Equal(list, []string{`"a/pipe": it is a fifo`}) {
		t.Errorf("got %q", list)
	}
}

func TestListRefusesNamesThatNoLayerCanHave(t *testing.T) {
	dir := grow(t, "ok/new\nline", "ok/.whx", "bad/\xff", "bad/.wh.x", "link -> \xfe")
	c := openContext(t, dir, "")
	listed(t, c, "ok")
	_, err := c.List(t.Context(), "")
	list, hint := contextProblems(t, err)
	if len(list) != 3 || !strings.Contains(list[1], "not UTF-8") ||
		!strings.Contains(hint, ignoreFile) {
		t.Errorf("got %q, %q", list, hint)
	}
	write(t, dir, ignoreFile, "bad\nlink")
	listed(t, openContext(t, dir, ""), "")
}

func TestListNamesDirectoriesThatCannotBeRead(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	dir := grow(t, "open/x", "shut/x", "file")
	for name, mode := range map[string]os.FileMode{"shut": 0, "file": 0} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "shut"), 0o700) })
	c := openContext(t, dir, "")
	listed(t, c, "open", "file")
	for _, name := range []string{"", "shut", "shut/x"} {
		_, err := c.List(t.Context(), name)
		list, hint := contextProblems(t, err)
		if !slices.Equal(list, []string{`"shut": it cannot be read: permission denied`}) ||
			!strings.Contains(hint, ignoreFile) {
			t.Errorf("%q: got %q, %q", name, list, hint)
		}
	}
}
