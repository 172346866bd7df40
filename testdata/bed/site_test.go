package bed

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestSitesAreTheSameEverywhere(t *testing.T) {
	b := open(t)
	dir, err := b.Site(t.Context(), "small")
	need(t, err)
	const want = "89b022f0c9f43732"
	if got := treeDigest(t, dir); got != want {
		t.Errorf("the digest of site small is %s; a new recipe needs a new siteVersion", got)
	}
}

func TestSitesHoldWhatTheySay(t *testing.T) {
	b := open(t)
	for _, c := range []struct {
		name  string
		files int
		bytes float64
	}{{"small", 10, 300_000}, {"medium", 1200, 60e6}} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := b.Site(t.Context(), c.name)
			need(t, err)
			files, bytes, err := SiteSize(dir)
			if err != nil || files != c.files || float64(bytes) < 0.9*c.bytes || float64(bytes) > 1.1*c.bytes {
				t.Errorf("%d files, %d bytes, %v", files, bytes, err)
			}
			seen := map[[32]byte]string{}
			walkFiles(t, dir, func(name string, content []byte) {
				sum := sha256.Sum256(content)
				if other, ok := seen[sum]; ok {
					t.Errorf("%s is %s", name, other)
				}
				seen[sum] = name
			})
		})
	}
}

func treeDigest(t *testing.T, dir string) string {
	h := sha256.New()
	walkFiles(t, dir, func(name string, content []byte) {
		fmt.Fprintf(h, "%s %x\n", name, sha256.Sum256(content))
	})
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func walkFiles(t *testing.T, dir string, visit func(name string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		visit(filepath.ToSlash(rel), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHelloDistIsWhole(t *testing.T) {
	dir := "../apps/hello-dist"
	reference := regexp.MustCompile(`(?:href|src)="(/[^"]*\.[a-z]+)"|import\("\./([^"]+)"\)`)
	found := 0
	walkFiles(t, dir, func(name string, content []byte) {
		for _, m := range reference.FindAllSubmatch(content, -1) {
			target := filepath.Join(dir, string(m[1]))
			if len(m[2]) > 0 {
				target = filepath.Join(dir, filepath.Dir(name), string(m[2]))
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s refers to %s", name, err)
			}
			found++
		}
	})
	if found < 6 {
		t.Errorf("only %d references found", found)
	}
}
