package output

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// targetsIn are one target of each kind in dir.
func targetsIn(dir string) []Target {
	return []Target{
		{Layout, filepath.Join(dir, "layout"), []string{"a:1"}},
		{OCIArchive, filepath.Join(dir, "oci.tar"), []string{"a:1"}},
		{DockerArchive, filepath.Join(dir, "docker.tar"), []string{"a:1"}},
		{InStore, filepath.Join(dir, "data", "store"), []string{"a:1"}},
	}
}

func mustStage(t *testing.T, target Target, m Manifest) *Staged {
	t.Helper()
	s, err := target.Stage(t.Context(), m, WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens what is at a target.
func (target Target) open(t *testing.T) *Source {
	t.Helper()
	if target.Kind == InStore {
		store, err := OpenStore(target.Path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.Get(target.Names[0])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	return mustOpen(t, string(target.Kind)+":"+target.Path+":1")
}

func TestAbortLeavesWhatWasThere(t *testing.T) {
	for i, kind := range []Kind{Layout, OCIArchive, DockerArchive, InStore} {
		for _, before := range []bool{false, true} {
			t.Run(string(kind), func(t *testing.T) {
				dir := t.TempDir()
				target := targetsIn(dir)[i]
				img := dockerImageOf(t, 2)
				if before {
					if err := put(t.Context(), target, img, WriteOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				want := tree(t, dir)
				s := mustStage(t, target, dockerImageOf(t, 2))
				if err := errors.Join(s.Abort(), s.Abort()); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
					t.Error(diff)
				}
				if err := s.Commit(); err == nil {
					t.Error("what was given up was committed")
				}
			})
		}
	}
}

func TestNothingHasItsNameBeforeCommit(t *testing.T) {
	dir := t.TempDir()
	img := dockerImageOf(t, 2)
	for _, target := range targetsIn(dir) {
		t.Run(string(target.Kind), func(t *testing.T) {
			s := mustStage(t, target, img)
			for _, name := range []string{target.Path, filepath.Join(target.Path, indexFileName)} {
				if info, err := os.Stat(name); err == nil && !info.IsDir() {
					t.Errorf("%s is there already", name)
				}
			}
			if err := s.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := s.Abort(); err != nil {
				t.Error(err)
			}
			if err := s.Commit(); err == nil {
				t.Error("committed twice")
			}
			want := diffIDs(t, img)
			if diff := cmp.Diff(want, diffIDs(t, target.open(t).Image)); diff != "" {
				t.Error(diff)
			}
			for name := range tree(t, dir) {
				if strings.Contains(name, stagePrefix) {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

// TestDigestFindsTheImageAgain: what a Staged calls the image is what Open takes.
func TestDigestFindsTheImageAgain(t *testing.T) {
	for _, target := range targetsIn(t.TempDir())[:3] {
		img := ociImageOf(t, "arm64")
		s := mustStage(t, target, img)
		if err := s.Commit(); err != nil {
			t.Fatal(err)
		}
		got := mustOpen(t, string(target.Kind)+":"+target.Path+"@"+s.Digest().String())
		config, err := img.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := got.Image.ConfigName(); err != nil || again != config {
			t.Errorf("%s: %s, %v, want %s", target.Kind, again, err, config)
		}
		if want := mustDigest(t, img); target.Kind != DockerArchive && s.Digest() != want {
			t.Errorf("%s: digest %s, want %s", target.Kind, s.Digest(), want)
		}
		if target.Kind == DockerArchive && s.Digest() != config {
			t.Errorf("docker archive: digest %s, want the image ID %s", s.Digest(), config)
		}
		wrong := string(target.Kind) + ":" + target.Path + "@sha256:" + strings.Repeat("0", 64)
		var missing *SelectError
		if _, err := Open(t.Context(), wrong, t.TempDir()); !errors.As(err, &missing) {
			t.Errorf("%s: of an unknown digest got %v, want a SelectError", target.Kind, err)
		}
	}
}

// TestCommitOutlivesTheWriterOfItsBlobs removes a blob that staging found in the
// layout, as a writer does that fails after it.
func TestCommitOutlivesTheWriterOfItsBlobs(t *testing.T) {
	target := Target{Layout, filepath.Join(t.TempDir(), "x"), []string{"a:1"}}
	img := dockerImageOf(t, 1)
	if err := put(t.Context(), target, img, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	target.Names = []string{"a:2"}
	s := mustStage(t, target, img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, digest := range []v1.Hash{mustDigest(t, img), mustDigest(t, layers[0])} {
		if err := os.Remove(filepath.Join(target.Path, filepath.FromSlash(blobPath(digest)))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	rc, err := mustOpen(t, "oci:"+target.Path+":2").Image.Layers()
	if err != nil || len(rc) != 1 || mustDigest(t, rc[0]) != mustDigest(t, layers[0]) {
		t.Errorf("layers %v, %v", rc, err)
	}
	if err := put(t.Context(), target, img, WriteOptions{}); err != nil {
		t.Error(err)
	}
}

// TestFailedCommitTakesItsBlobsBack has the rename of index.json fail.
func TestFailedCommitTakesItsBlobsBack(t *testing.T) {
	dir := t.TempDir()
	target := Target{Layout, filepath.Join(dir, "x"), nil}
	if err := os.Mkdir(target.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	s := mustStage(t, target, dockerImageOf(t, 2))
	writeFile(t, filepath.Join(target.Path, indexFileName, "in-the-way"), nil)
	want := map[string]string{"./": "", "x/": "", "x/index.json/": "", "x/index.json/in-the-way": ""}
	if err := s.Commit(); err == nil {
		t.Fatal("no error")
	}
	if err := s.Abort(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestCommitLooksAtTheFileAgain(t *testing.T) {
	dir := t.TempDir()
	target := Target{OCIArchive, filepath.Join(dir, "x.tar"), nil}
	s := mustStage(t, target, dockerImageOf(t, 1))
	writeFile(t, target.Path, []byte("written meanwhile"))
	var exists *ExistsError
	if err := s.Commit(); !errors.As(err, &exists) {
		t.Errorf("got %v, want an ExistsError", err)
	}
	if err := s.Abort(); err != nil {
		t.Error(err)
	}
	want := map[string]string{"./": "", "x.tar": "written meanwhile"}
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestCheckChangesNothing(t *testing.T) {
	dir := t.TempDir()
	for _, target := range targetsIn(dir) {
		if err := target.Check(); err != nil {
			t.Errorf("%s: %v", target.Kind, err)
		}
		writeFile(t, filepath.Join(dir, "taken", "file"), nil)
		target.Path = filepath.Join(dir, "taken")
		var exists *ExistsError
		if err := target.Check(); !errors.As(err, &exists) {
			t.Errorf("%s: got %v, want an ExistsError", target.Kind, err)
		}
		if err := os.RemoveAll(target.Path); err != nil {
			t.Fatal(err)
		}
		target.Path = filepath.Join(dir, "no", "such")
		var parent *ParentError
		if err := target.Check(); target.Kind != InStore && !errors.As(err, &parent) {
			t.Errorf("%s: got %v, want a ParentError", target.Kind, err)
		}
		target.Names = []string{"Bad"}
		if err := target.Check(); err == nil {
			t.Errorf("%s: a malformed name was accepted", target.Kind)
		}
	}
	if got := tree(t, dir); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
	if err := (Target{Kind: "floppy", Path: dir}).Check(); err == nil {
		t.Error("an unknown kind was accepted")
	}
	if err := (Target{Kind: InStore, Path: filepath.Join(dir, "s")}).Check(); err == nil {
		t.Error("a store without a name was accepted")
	}
	if _, err := os.Stat(filepath.Join(dir, "s")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the check made a directory")
	}
}
