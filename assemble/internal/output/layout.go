package output

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// parallelBlobs bounds how many blobs of a layout are written at once: those of
// a remote base are downloads.
const parallelBlobs = 4

// Layout writes m to the OCI layout at dir, under the tags of names, and makes
// dir if it is missing. See the package documentation for what may be there. It
// is idempotent, and safe beside other writers of the same directory.
func Layout(ctx context.Context, dir string, names []string, m Manifest, o WriteOptions) error {
	parsed, err := parseNames(names)
	if err != nil {
		return err
	}
	var entries []entryName
	for _, n := range parsed {
		entries = append(entries, entryName{tag: n.tag, full: n.full})
	}
	return writeLayout(ctx, dir, entries, m, o)
}

func writeLayout(
	ctx context.Context, dir string, names []entryName, m Manifest, o WriteOptions,
) (err error) {
	g, err := collect(m)
	if err != nil {
		return err
	}
	created, err := makeDir(dir)
	if err != nil {
		return err
	}
	if created {
		defer func() {
			if err != nil {
				// Not empty when another writer is in it: then it stays.
				_ = os.Remove(dir)
			}
		}()
	}
	s, err := openStage(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	// A blob that was there may be gone when it is published, if the writer that
	// brought it failed. It is then written after all.
	for range 3 {
		if err = s.fill(ctx, g, o); err != nil {
			return err
		}
		if err = s.publish(ctx, g, names); !errors.Is(err, errBlobGone) {
			return err
		}
	}
	return err
}

// errBlobGone is a blob that another writer removed.
var errBlobGone = errors.New("a blob of the layout vanished")

// makeDir makes dir, whose parent must exist.
func makeDir(dir string) (created bool, err error) {
	if err := checkParent(filepath.Dir(filepath.Clean(dir))); err != nil {
		return false, err
	}
	if err := os.Mkdir(dir, 0o777); err == nil {
		return true, nil
	} else if !errors.Is(err, fs.ErrExist) {
		return false, spaceError(dir, err)
	}
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &ExistsError{Path: dir, What: "is no directory"}
	}
	return false, err
}

// checkLayout reports a directory that is neither a layout nor empty.
func checkLayout(dir string) error {
	raw, err := readSmallFile(filepath.Join(dir, layoutFile), 4<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return checkEmpty(dir)
	}
	if err != nil {
		return err
	}
	if !isLayoutVersion(raw) {
		return &ExistsError{Path: dir, What: "is an OCI layout of an unknown version"}
	}
	return nil
}

func isLayoutVersion(raw []byte) bool {
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	return json.Unmarshal(raw, &version) == nil && strings.HasPrefix(version.Version, "1.")
}

func checkEmpty(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(100)
		for _, n := range names {
			if !strings.HasPrefix(n, stagePrefix) {
				return &ExistsError{Path: dir, What: "is neither empty nor an OCI layout"}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// stage is a directory inside a layout, where blobs wait until all are there. Its
// owner holds its lock, so that one left by a killed process is known.
type stage struct {
	layout, dir string
	unlock      func() error
}

func openStage(ctx context.Context, layout string) (s *stage, err error) {
	unlock, err := lock(ctx, layout)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := checkLayout(layout); err != nil {
		return nil, err
	}
	removeStale(layout)
	s = &stage{layout: layout, dir: filepath.Join(layout, stagePrefix+rand.Text())}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, spaceError(s.dir, err)
	}
	var ok bool
	if s.unlock, ok, err = tryLock(s.dir); err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", s.dir, err), os.Remove(s.dir))
	}
	return s, nil
}

// removeStale removes the stages of writers that are no more. It is called under
// the layout's lock. What it cannot remove costs space only.
func removeStale(layout string) {
	entries, _ := os.ReadDir(layout)
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), stagePrefix) {
			continue
		}
		dir := filepath.Join(layout, e.Name())
		unlock, ok, err := tryLock(dir)
		if err == nil && ok && unlock() == nil {
			_ = os.RemoveAll(dir)
		}
	}
}

func (s *stage) close() error {
	return errors.Join(s.unlock(), os.RemoveAll(s.dir))
}

// path is where a staged blob waits.
func (s *stage) path(d v1.Hash) string {
	return filepath.Join(s.dir, d.Algorithm+"-"+d.Hex)
}

// final is where a blob belongs.
func (s *stage) final(d v1.Hash) string {
	return filepath.Join(s.layout, blobsDir, d.Algorithm, d.Hex)
}

// fill stages the blobs of g that the layout does not have.
func (s *stage) fill(ctx context.Context, g *graph, o WriteOptions) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelBlobs)
	for _, b := range g.blobs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if present(s.path(b.digest), b) || present(s.final(b.digest), b) {
				return nil
			}
			return writeSynced(s.path(b.digest), func(w io.Writer) error {
				return copyBlob(ctx, w, b, o)
			})
		})
	}
	return group.Wait()
}

// readAgain is the size up to which a blob that exists is read to be believed. A
// larger one is known by its size, and verified by whoever reads it.
const readAgain = 1 << 20

// present says whether the file at path is b.
func present(path string, b blob) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != b.size {
		return false
	}
	if b.size > readAgain {
		return true
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	v, err := newVerifier(f, b.digest, b.size)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, v)
	return err == nil
}
