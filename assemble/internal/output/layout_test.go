package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// tags are the tags of the layout at dir, in order.
func tags(t *testing.T, dir string) []string {
	t.Helper()
	index, err := readIndexFile(filepath.Join(dir, indexFileName))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range index.entries {
		list = append(list, e.tag())
	}
	return list
}

func TestLayoutReplacesOnlyTheSameTag(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	first, second := dockerImageOf(t, 1), dockerImageOf(t, 1)
	for _, w := range []struct {
		m     Manifest
		names []string
		want  string
	}{
		{first, []string{"a:1", "a:2"}, "1 2"},
		{second, []string{"b:2"}, "1 2"},
		{second, nil, "1 2 "},
		{second, nil, "1 2 "},
		{first, []string{"a:1", "b:1"}, "2  1 1"},
	} {
		if err := putLayout(t.Context(), dir, w.names, w.m, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(tags(t, dir), " "); got != w.want {
			t.Errorf("after %q: tags %q, want %q", w.names, got, w.want)
		}
	}
	if got := mustOpen(t, "oci:"+dir+":1").Digest; got != mustDigest(t, first) {
		t.Errorf("tag 1 is %s", got)
	}
	if got := mustOpen(t, "oci:"+dir+":2").Digest; got != mustDigest(t, second) {
		t.Errorf("tag 2 is %s", got)
	}
}

func TestLayoutKeepsWhatItDoesNotKnow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := putLayout(t.Context(), dir, []string{"a"}, dockerImageOf(t, 1), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, indexFileName)
	raw := strings.Replace(string(readFile(t, path)), `{"manifests":[{`,
		`{"annotations":{"k":"<v>"},"manifests":[{"future":12345678901234567890,`, 1)
	writeFile(t, path, []byte(raw))
	writeFile(t, filepath.Join(dir, "notes.txt"), []byte("mine"))
	if err := putLayout(t.Context(), dir, []string{"a:2"}, dockerImageOf(t, 1), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	got := string(readFile(t, path))
	if !strings.Contains(got, `"future":12345678901234567890`) || !strings.Contains(got, `"k":"<v>"`) {
		t.Errorf("fields were lost: %s", got)
	}
	if string(readFile(t, filepath.Join(dir, "notes.txt"))) != "mine" {
		t.Error("a file of someone else changed")
	}
}

func TestLayoutFillsAnEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := putLayout(t.Context(), dir+"/", nil, dockerImageOf(t, 1), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, "oci:"+dir)
}

func TestConcurrentWritersAllEndUpInTheLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	shared := dockerImageOf(t, 2)
	var g errgroup.Group
	const writers = 8
	var want []string
	for n := range writers {
		var m Manifest = shared
		if n%2 == 0 {
			m = dockerImageOf(t, 2)
		}
		tag := fmt.Sprintf("t%d", n)
		want = append(want, tag)
		g.Go(func() error {
			return putLayout(t.Context(), dir, []string{"a:" + tag}, m, WriteOptions{})
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	got := tags(t, dir)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for name := range tree(t, dir) {
		if strings.HasSuffix(name, "/") && strings.HasPrefix(name, stagePrefix) {
			t.Errorf("%s was left", name)
		}
	}
}

func TestLayoutRepairsADamagedBlob(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	img := dockerImageOf(t, 1)
	if err := putLayout(t.Context(), dir, nil, img, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	layers, _ := img.Layers()
	path := filepath.Join(dir, filepath.FromSlash(blobPath(mustDigest(t, layers[0]))))
	good := readFile(t, path)
	bad := slices.Clone(good)
	bad[100] ^= 1
	writeFile(t, path, bad)
	if err := putLayout(t.Context(), dir, nil, img, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(readFile(t, path), good) {
		t.Error("the damaged blob is still there")
	}
}

func TestLayoutRemovesTheStageOfADeadWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	img := dockerImageOf(t, 1)
	if err := os.MkdirAll(filepath.Join(dir, stagePrefix+"dead"), 0o755); err != nil {
		t.Fatal(err)
	}
	alive := filepath.Join(dir, stagePrefix+"alive")
	if err := os.Mkdir(alive, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, ok, err := tryLock(alive)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	defer unlock()
	if err := putLayout(t.Context(), dir, nil, img, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, stagePrefix+"dead")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead writer's stage: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("the living writer's stage: %v", err)
	}
}

func TestLayoutWaitsForTheLock(t *testing.T) {
	dir := t.TempDir()
	unlock, ok, err := tryLock(dir)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	img := dockerImageOf(t, 1)
	if err := putLayout(ctx, dir, nil, img, WriteOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another holds the lock: got %v, want to wait for it", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if err := putLayout(t.Context(), dir, nil, img, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "decant", "store")
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	var missing *SelectError
	if _, err := s.Get("my-app"); !errors.As(err, &missing) || missing.Hint() == "" {
		t.Fatalf("empty store: got %v, want a SelectError", err)
	}
	first, second := dockerImageOf(t, 1), indexOf(t, "amd64", "arm64")
	if err := putInStore(t.Context(), dir, []string{"my-app", "my-app:1.4", "other"}, first); err != nil {
		t.Fatal(err)
	}
	if err := putInStore(t.Context(), dir, []string{"my-app"}, second); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Manifest{
		"my-app": second, "my-app:latest": second, "my-app:1.4": first, "other": first,
		"my-app@" + mustDigest(t, first).String():     first,
		"my-app@" + mustDigest(t, second).String():    second,
		"my-app:1.4@" + mustDigest(t, first).String(): first,
		"docker.io/library/other":                     first,
	} {
		got, err := s.Get(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Digest != mustDigest(t, want) || (got.Index != nil) == (got.Image != nil) {
			t.Errorf("%s: got %+v", name, got)
		}
		if err := got.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"my-app:2", "my", "other@" + mustDigest(t, second).String(),
		"my-app:1.4@" + mustDigest(t, second).String()} {
		if _, err := s.Get(name); !errors.As(err, &missing) || !strings.Contains(missing.Hint(), "my-app:1.4") {
			t.Errorf("%s: got %v, want a SelectError that lists my-app:1.4", name, err)
		}
	}
	if _, err := s.Get("my-app@nonsense"); err == nil {
		t.Error("a malformed digest was accepted")
	}
	if err := putInStore(t.Context(), dir, nil, first); err == nil {
		t.Error("an image without a name was stored")
	}
	mustOpen(t, "oci:"+dir+":my-app:1.4")
}

func TestStoreRefusesADirectoryOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "precious"), nil)
	var exists *ExistsError
	if _, err := OpenStore(dir); !errors.As(err, &exists) {
		t.Errorf("got %v, want an ExistsError", err)
	}
	if _, err := OpenStore(""); err == nil {
		t.Error("a store without a directory was opened")
	}
}

func TestIndexFileHasDockersNames(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	names := []string{"my-app", "localhost:5000/a/b:1", "me/web"}
	if err := putLayout(t.Context(), dir, names, dockerImageOf(t, 1), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var index struct {
		Manifests []struct{ Annotations map[string]string }
	}
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, indexFileName)), &index); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range index.Manifests {
		got = append(got, m.Annotations[nameAnnotation]+" "+m.Annotations[tagAnnotation])
	}
	want := []string{"docker.io/library/my-app:latest latest", "localhost:5000/a/b:1 1", "docker.io/me/web:latest latest"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
