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
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// parallelBlobs bounds how many blobs of a layout are written at once: those of
// a remote base are downloads.
const parallelBlobs = 4

// stageLayout stages m in the layout or store of t, whose directory it makes. It is
// safe beside other writers of the same directory.
func stageLayout(
	ctx context.Context, t Target, names []imageName, m Manifest, o WriteOptions,
) (*Staged, error) {
	g, err := collect(m)
	if err != nil {
		return nil, err
	}
	made, err := makeDir(t.Path, t.Kind == InStore)
	if err != nil {
		return nil, err
	}
	s, err := openStage(ctx, t.Path)
	if err != nil {
		made.run()
		return nil, err
	}
	s.graph, s.names, s.made = g, t.Kind.entries(names), made
	if err := s.fill(ctx, o); err != nil {
		return nil, errors.Join(err, s.discard())
	}
	return &Staged{g.root.Digest, s}, nil
}

// entries is how a layout of the kind names an image: a store has whole names for
// tags.
func (k Kind) entries(names []imageName) []entryName {
	var entries []entryName
	for _, n := range names {
		e := entryName{tag: n.tag, full: n.full}
		if k == InStore {
			e.tag = n.text
		}
		entries = append(entries, e)
	}
	return entries
}

// makeDir makes dir, and also what is missing above it if parents is set.
func makeDir(dir string, parents bool) (made undoList, err error) {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		missing = append(missing, d)
		if !parents {
			break
		}
	}
	for _, d := range slices.Backward(missing) {
		err := os.Mkdir(d, 0o777)
		switch {
		case err == nil:
			made.made(d)
		case !errors.Is(err, fs.ErrExist): // else another writer was first
			made.run()
			return nil, spaceError(d, err)
		}
	}
	return made, nil
}

// checkDir reports what is at dir unless it is a layout, empty, or nothing.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return &ExistsError{Path: dir, What: "is no directory"}
	}
	return checkLayout(dir)
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
	graph       *graph
	names       []entryName
	made        undoList // the layout's directory, and those above it, if they are new
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

// commitWait bounds the wait for other writers that are committing.
const commitWait = 30 * time.Second

func (s *stage) commit() error {
	ctx, cancel := context.WithTimeout(context.Background(), commitWait)
	defer cancel()
	if err := s.publish(ctx); err != nil {
		return err
	}
	// The image has its name. What cannot be removed costs space only, and the next
	// writer tries again.
	_ = s.close()
	return nil
}

func (s *stage) discard() error {
	err := s.close()
	s.made.run() // a directory with another writer's files stays
	return err
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

// fill stages the image's blobs.
func (s *stage) fill(ctx context.Context, o WriteOptions) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelBlobs)
	for _, b := range s.graph.blobs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if present(s.final(b.digest), b) {
				// The link is for the case that the writer that brought the blob fails and
				// takes it back. Where there are no links, commit then reports that.
				_ = os.Link(s.final(b.digest), s.path(b.digest))
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
