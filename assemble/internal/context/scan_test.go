package context

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// grow makes files in a new directory: a name with a trailing slash is a
// directory, "name -> target" a link, all else a file that holds its own name.
func grow(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	growIn(t, dir, names...)
	return dir
}

func growIn(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		name, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(name), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// show writes entries as "name", "name/" or "name -> target".
func show(entries []layer.Entry) []string {
	var list []string
	for _, e := range entries {
		switch e.Kind {
		case layer.Dir:
			list = append(list, e.Name+"/")
		case layer.Link:
			list = append(list, e.Name+" -> "+e.Target)
		default:
			list = append(list, e.Name)
		}
	}
	return list
}

func scan(t testing.TB, dir string, o ScanOptions) (layer.Tree, []Warning) {
	t.Helper()
	tree, warnings, err := Scan(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return tree, warnings
}

// problemsOf scans what cannot be published and returns its problems as text.
func problemsOf(t *testing.T, dir string, o ScanOptions) []string {
	t.Helper()
	tree, warnings, err := Scan(t.Context(), dir, o)
	var scanErr *ScanError
	if !errors.As(err, &scanErr) {
		t.Fatalf("Scan = %v, want a *ScanError", err)
	}
	if tree.Entries != nil || warnings != nil {
		t.Errorf("a failed Scan returned %d entries, %d warnings", len(tree.Entries), len(warnings))
	}
	if scanErr.Hint() == "" {
		t.Errorf("%v has no hint", err)
	}
	var list []string
	for _, p := range scanErr.Problems {
		list = append(list, p.String())
	}
	return list
}

func TestScanSortsByPathElement(t *testing.T) {
	dir := grow(t, "b", "a-b", "a/z", "a/b/c", "a.b", "a0", "A", "a/b-c", "é", "empty/")
	want := []string{"A", "a/", "a/b/", "a/b/c", "a/b-c", "a/z", "a-b", "a.b", "a0", "b",
		"empty/", "é"}
	for _, o := range []ScanOptions{{}, {Prefix: "usr/share/html"}} {
		tree, _ := scan(t, dir, o)
		got := show(tree.Entries)
		for i := range got {
			got[i] = strings.TrimPrefix(got[i], o.Prefix+"/")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("prefix %q (-want +got):\n%s", o.Prefix, diff)
		}
	}
}

func TestScanPutsPrefixInFront(t *testing.T) {
	dir := grow(t, "index.html", "js/app.js", "latest -> js")
	tests := []struct {
		name string
		o    ScanOptions
		want []string
	}{
		{"root", ScanOptions{}, []string{"index.html", "js/", "js/app.js", "latest -> js"}},
		{"root has no parents", ScanOptions{Parents: true},
			[]string{"index.html", "js/", "js/app.js", "latest -> js"}},
		{"prefix", ScanOptions{Prefix: "srv/www"},
			[]string{"srv/www/index.html", "srv/www/js/", "srv/www/js/app.js",
				"srv/www/latest -> js"}},
		{"parents", ScanOptions{Prefix: "srv/www", Parents: true},
			[]string{"srv/", "srv/www/", "srv/www/index.html", "srv/www/js/",
				"srv/www/js/app.js", "srv/www/latest -> js"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, _ := scan(t, dir, tt.o)
			if diff := cmp.Diff(tt.want, show(tree.Entries)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, e := range tree.Entries {
				if e.Kind == layer.File && joinPath(tt.o.Prefix, e.Source) != e.Name {
					t.Errorf("%s has the source %q", e.Name, e.Source)
				}
			}
		})
	}
	for _, bad := range []string{"/srv", "srv/", "a/../b", ".", ".."} {
		if _, _, err := Scan(t.Context(), dir, ScanOptions{Prefix: bad}); err == nil {
			t.Errorf("prefix %q was taken", bad)
		}
	}
}

func TestScanRecordsWhatTellsAFileFromAChangedOne(t *testing.T) {
	dir := grow(t, "index.html")
	when := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	path := filepath.Join(dir, "index.html")
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
	before := time.Now().UnixNano()
	tree, _ := scan(t, dir, ScanOptions{})
	e := tree.Entries[0]
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if e.Size != info.Size() || e.MTime != info.ModTime().UnixNano() {
		t.Errorf("size %d, mtime %d; the file has %d, %d", e.Size, e.MTime, info.Size(),
			info.ModTime().UnixNano())
	}
	if tree.ScannedAt < before || tree.ScannedAt > time.Now().UnixNano() {
		t.Errorf("scanned at %d, which is not now", tree.ScannedAt)
	}
	if tree.Dir != dir {
		t.Errorf("Dir is %q, want %q", tree.Dir, dir)
	}
}

func TestScanNormalisesModes(t *testing.T) {
	dir := grow(t, "plain", "run", "group", "private", "d/")
	for name, mode := range map[string]os.FileMode{"run": 0o755, "group": 0o654, "private": 0o600,
		"d": 0o700} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, keep := range []bool{false, true} {
		tree, _ := scan(t, dir, ScanOptions{KeepExec: keep})
		got := map[string]uint32{}
		for _, e := range tree.Entries {
			got[e.Name] = e.Mode
		}
		want := map[string]uint32{"plain": 0o644, "run": 0o644, "group": 0o644,
			"private": 0o644, "d": 0o755}
		if keep {
			want["run"] = 0o755
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("KeepExec %v (-want +got):\n%s", keep, diff)
		}
	}
}

func TestScanFollowsTheRootOnly(t *testing.T) {
	dir := grow(t, "index.html")
	link := filepath.Join(t.TempDir(), "dist")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	tree, _ := scan(t, link, ScanOptions{})
	if tree.Dir != link || len(tree.Entries) != 1 {
		t.Errorf("got %d entries of %q", len(tree.Entries), tree.Dir)
	}
}

func TestScanRefusesDirectoriesThatAreNone(t *testing.T) {
	file := filepath.Join(grow(t, "file"), "file")
	tests := []struct{ name, dir, want string }{
		{"missing", filepath.Join(t.TempDir(), "no"), "there is no such directory"},
		{"below a file", filepath.Join(file, "no"), "it is not a directory"},
		{"a file", file, "it is not a directory"},
		{"empty", t.TempDir(), "there is no file in it"},
		{"directories only", grow(t, "a/b/", "c/"), "there is no file in it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := problemsOf(t, tt.dir, ScanOptions{})
			if !slices.Equal(got, []string{tt.want}) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			_, _, err := Scan(t.Context(), tt.dir, ScanOptions{})
			if want := "reading " + tt.dir + ": " + tt.want; err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
		})
	}
}

func TestScanJudgesLinks(t *testing.T) {
	const (
		leaves   = "it is a link that leaves the directory"
		absolute = "it is a link to an absolute path, which is another place in the image"
		loops    = "it is a link that leads back to itself"
	)
	tests := []struct {
		name  string
		names []string
		want  string // "": fine; "?": dangling
	}{
		{"to a file", []string{"l -> f"}, ""},
		{"to a directory", []string{"l -> d"}, ""},
		{"up and down again", []string{"d/l -> ../f"}, ""},
		{"to the directory itself", []string{"d/l -> .."}, ""},
		{"through a link", []string{"k -> d", "l -> k/x"}, ""},
		{"slashes and dots", []string{"l -> ./d//./x"}, ""},
		{"dot-dot after a link goes up from its target",
			[]string{"a/b/c/g", "k -> a/b", "l -> k/../b/c/g"}, ""},
		{"dangling", []string{"l -> no"}, "?"},
		{"dangling below a file", []string{"l -> f/x"}, "?"},
		{"dangling dot-dot", []string{"l -> no/../f"}, "?"},
		{"out", []string{"l -> ../x"}, leaves},
		{"out at once", []string{"l -> .."}, leaves},
		{"out and back in", []string{"d/l -> ../../d/x"}, leaves},
		{"out below what is missing", []string{"l -> no/../../x"}, leaves},
		{"out through a link", []string{"a/k -> ..", "l -> a/k/../x"}, leaves},
		{"absolute", []string{"l -> /etc/passwd"}, absolute},
		{"through itself", []string{"l -> l"}, loops},
		{"through itself, deep", []string{"l -> d/../l/x"}, loops},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := grow(t, append(tt.names, "f", "d/x")...)
			o := ScanOptions{Prefix: "srv/www", Parents: true}
			if tt.want != "" && tt.want != "?" {
				if got := problemsOf(t, dir, o); len(got) != 1 || !strings.Contains(got[0], tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				return
			}
			tree, warnings := scan(t, dir, o)
			if dangles := len(warnings) == 1; dangles != (tt.want == "?") {
				t.Errorf("warnings: %v", warnings)
			}
			for _, name := range tt.names {
				if strings.Contains(name, "->") &&
					!slices.Contains(show(tree.Entries), "srv/www/"+name) {
					t.Errorf("%q was not kept in %q", name, show(tree.Entries))
				}
			}
		})
	}
}

func TestScanReportsEveryLinkOfALoop(t *testing.T) {
	got := problemsOf(t, grow(t, "f", "a -> b", "b -> c", "c -> a"), ScanOptions{})
	if len(got) != 3 {
		t.Errorf("got %q", got)
	}
}

// TestScanAgreesWithTheKernelAboutLinks lets the kernel resolve the same links.
func TestScanAgreesWithTheKernelAboutLinks(t *testing.T) {
	dir := grow(t, "f", "d/e/x", "d/k -> e", "d/e/up -> ../..", "long0 -> f")
	for i := range maxLinks + 3 {
		growIn(t, dir, fmt.Sprintf("long%d -> long%d", i+1, i))
	}
	growIn(t, dir, "1 -> d/k/x", "2 -> d/e/up/f", "3 -> d/k/up/d/k/up/d/e", "4 -> d/k/y",
		"5 -> f/.", "6 -> d/e/up/7", "7 -> d/e/up/6")
	w := newWalker(ScanOptions{})
	var err error
	if w.root, err = openRoot(dir); err != nil {
		t.Fatal(err)
	}
	defer w.root.Close()
	top, err := w.walk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries := w.flatten(top)
	r := &resolver{entries: entries}
	for _, e := range entries {
		if e.Kind != layer.Link {
			continue
		}
		_, err := os.Stat(filepath.Join(dir, filepath.FromSlash(e.Name)))
		if fate := r.resolve(e.Name, e.Target); (fate == linkInside) != (err == nil) && e.Name != "5" {
			t.Errorf("%s -> %s: fate %d, the kernel says %v", e.Name, e.Target, fate, err)
		}
	}
}

// TestScanWarnsOfNamesThatDifferInCase needs no files: not every file system
// could hold these.
func TestScanWarnsOfNamesThatDifferInCase(t *testing.T) {
	w := newWalker(ScanOptions{Prefix: "w"})
	var entries []layer.Entry
	for _, name := range []string{"README", "ReadMe", "STRAßE", "Straße", "a.js", "k.js", "readme",
		"\u212a.js" /* the Kelvin sign */} {
		entries = append(entries, layer.Entry{Name: "w/sub/" + name})
	}
	w.warnCase("sub", entries)
	var got []string
	for _, w := range w.warnings.sorted() {
		got = append(got, w.String())
	}
	const why = " only in case: macOS and Windows hold them for one file"
	want := []string{
		`"sub/README": it differs from "readme"` + why,
		`"sub/ReadMe": it differs from "README"` + why,
		`"sub/Straße": it differs from "STRAßE"` + why,
		"\"sub/\u212a.js\": it differs from \"k.js\"" + why,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestScanComparesCaseWithinOneDirectoryOnly(t *testing.T) {
	_, warnings := scan(t, grow(t, "a/X", "b/x", "c/B", "B1"), ScanOptions{})
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
}

func TestScanBoundsWhatItTells(t *testing.T) {
	var names []string
	for i := range 50 {
		names = append(names, fmt.Sprintf("bad%02d -> /etc", i))
	}
	_, _, err := Scan(t.Context(), grow(t, append(names, "f")...), ScanOptions{})
	var scanErr *ScanError
	if !errors.As(err, &scanErr) {
		t.Fatal(err)
	}
	if len(scanErr.Problems) != maxReported || scanErr.More != 50-maxReported ||
		scanErr.Problems[0].Path != "bad00" || scanErr.Problems[19].Path != "bad19" {
		t.Errorf("%d problems, %d more: %v", len(scanErr.Problems), scanErr.More, err)
	}
	if !strings.HasSuffix(err.Error(), "\n  and 30 more") {
		t.Errorf("error does not end in the number of the others:\n%v", err)
	}

	names = names[:0]
	for i := range 50 {
		names = append(names, fmt.Sprintf("odd%02d -> no", i))
	}
	_, warnings := scan(t, grow(t, append(names, "f")...), ScanOptions{})
	if len(warnings) != maxReported+1 || warnings[maxReported].String() !=
		"and 30 more warnings of this kind" {
		t.Errorf("%d warnings: %v", len(warnings), warnings)
	}
}

func TestScanBoundsEntries(t *testing.T) {
	dir := grow(t, "a/1", "a/2", "b/1", "b/2")
	if _, _, err := Scan(t.Context(), dir, ScanOptions{MaxEntries: 6}); err != nil {
		t.Error(err)
	}
	got := problemsOf(t, dir, ScanOptions{MaxEntries: 5})
	if !slices.Equal(got, []string{"it holds more than 5 files and directories"}) {
		t.Errorf("got %q", got)
	}
}

func TestScanStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Scan(ctx, grow(t, "f"), ScanOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Scan = %v", err)
	}
}

func TestScanIsTheSameEveryTime(t *testing.T) {
	dir := t.TempDir()
	for i := range 600 {
		growIn(t, dir, fmt.Sprintf("%d/%d/%d", i%7, i%23, i))
	}
	first, _ := scan(t, dir, ScanOptions{Prefix: "p"})
	for range 10 {
		again, _ := scan(t, dir, ScanOptions{Prefix: "p"})
		if diff := cmp.Diff(first.Entries, again.Entries); diff != "" {
			t.Fatal(diff)
		}
	}
	if !slices.IsSortedFunc(first.Entries, func(a, b layer.Entry) int {
		return slices.Compare(strings.Split(a.Name, "/"), strings.Split(b.Name, "/"))
	}) {
		t.Error("not sorted by elements")
	}
}

func FuzzComparePathsOrdersByElements(f *testing.F) {
	f.Add("a/b", "a-b")
	f.Add("", "a")
	f.Add("a//b", "a/\x00")
	f.Fuzz(func(t *testing.T, a, b string) {
		want := slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
		if a == "" || b == "" {
			want = strings.Compare(a, b)
		}
		got := comparePaths(a, b)
		if (got < 0) != (want < 0) || (got > 0) != (want > 0) {
			t.Errorf("comparePaths(%q, %q) = %d, want %d", a, b, got, want)
		}
	})
}

func FuzzFoldIsEqualFold(f *testing.F) {
	f.Add("K", "k")
	f.Add("ſ", "S")
	f.Add("ΣΑΣ", "σας")
	f.Fuzz(func(t *testing.T, a, b string) {
		if (fold(a) == fold(b)) != strings.EqualFold(a, b) && a != b &&
			nameFaultFree(a) && nameFaultFree(b) {
			t.Errorf("fold(%q) = %q, fold(%q) = %q", a, fold(a), b, fold(b))
		}
		if !nameFaultFree(a) {
			return
		}
		if fold(fold(a)) != fold(a) {
			t.Errorf("fold(%q) = %q is not stable", a, fold(a))
		}
	})
}

func nameFaultFree(name string) bool {
	what, _ := nameFault(name, name)
	return what == ""
}

func BenchmarkScan20000(b *testing.B) {
	dir := b.TempDir()
	for i := range 20_000 {
		sub := filepath.Join(dir, fmt.Sprintf("assets/%02d", i/500))
		if i%500 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		name := filepath.Join(sub, fmt.Sprintf("Chunk-%06x.js", i))
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		tree, _ := scan(b, dir, ScanOptions{Prefix: "usr/share/nginx/html"})
		if len(tree.Entries) != 20_041 {
			b.Fatal(len(tree.Entries))
		}
	}
}
