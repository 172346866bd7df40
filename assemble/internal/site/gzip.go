package site

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// A coding is a way to compress a file for its transfer. The libraries are pinned in
// go.mod, as the levels are here: what they write gets a digest.
type coding struct {
	ext string
	new func(io.Writer) (compressor, error)
}

type compressor interface {
	io.WriteCloser
	Reset(io.Writer)
}

// codings returns gzip and, if asked, brotli. The levels are where another percent of
// size begins to cost many times the time.
func codings(withBrotli bool) []coding {
	all := []coding{{".gz", newGzip}}
	if withBrotli {
		all = append(all, coding{".br", newBrotli})
	}
	return all
}

func newGzip(w io.Writer) (compressor, error) { return gzip.NewWriterLevel(w, 6) }

func newBrotli(w io.Writer) (compressor, error) { return brotli.NewWriterLevel(w, 6), nil }

const (
	// minCompress is the size below which a file fits into a packet or two anyway.
	minCompress = 1 << 10
	// A sibling saves a twentieth of its original, or there is none.
	worthPercent = 95
	// recipe stands for all that decides the bytes of siblings beside their originals.
	recipe = "decant siblings 1"
	// settled is how long ago a file must have changed before its scan for its times to
	// tell of the next change: the coarsest clock of a file system ticks every two seconds.
	settled = 2 * time.Second
)

// PrecompressOptions says what is made.
type PrecompressOptions struct {
	// Root is where the site is in the image: see Place.
	Root   string
	Brotli bool
	// Jobs is how many files are compressed at a time; 0 is one for each processor.
	Jobs int
}

// Precompress makes the siblings that nginx sends in place of large text files to who
// takes them compressed, and returns their entries, sorted. There is none for a file
// that has one, by whoever, and none that saves too little. Their layer gives them the
// times of their originals.
//
// They are files in dir, an absolute directory that exists and is used for nothing else,
// nor by two calls at a time. A later call for the same site takes what the files' stats
// vouch for, and removes the rest.
//
// A *layer.ChangedError says that a file is not what the scan saw.
func Precompress(ctx context.Context, tree layer.Tree, dir string, o PrecompressOptions) (
	[]layer.Entry, error) {
	p := &press{dir: dir, scannedAt: tree.ScannedAt, treeDir: tree.Dir}
	var err error
	if p.have, err = listSpool(dir); err != nil {
		return nil, err
	}
	all := nameSet(tree, o.Root)
	files := slices.DeleteFunc(siteFiles(tree, o.Root), func(f file) bool { return !compressible(f) })
	if len(files) > 0 {
		if p.roots, err = openRoots(tree.Dir, files); err != nil {
			return nil, err
		}
		defer p.roots.close()
	}
	var work []sibling
	for _, f := range files {
		for _, c := range codings(o.Brotli) {
			if !all.has(f.path + c.ext) {
				work = append(work, sibling{file: f, coding: c})
			}
		}
	}
	if err := p.run(ctx, work, o.Jobs); err != nil {
		return nil, err
	}
	var entries []layer.Entry
	used := map[string]bool{}
	for i := range work {
		used[work[i].spool] = true
		if work[i].entry.Size > 0 {
			entries = append(entries, work[i].entry)
		}
	}
	layer.Sort(entries)
	return entries, p.sweep(used)
}

// texts are the endings of what compresses. Source maps do too, but nobody waits for
// them.
var texts = map[string]bool{
	".html": true, ".htm": true, ".xhtml": true, ".js": true, ".mjs": true, ".cjs": true, ".css": true,
	".json": true, ".webmanifest": true, ".geojson": true, ".gltf": true, ".xml": true, ".rss": true,
	".atom": true, ".svg": true, ".txt": true, ".md": true, ".csv": true, ".yaml": true, ".yml": true,
	".wasm": true, ".ttf": true, ".otf": true, ".eot": true, ".ico": true, ".bmp": true, ".vtt": true,
}

func compressible(f file) bool {
	return f.entry.Size >= minCompress && texts[strings.ToLower(path.Ext(f.path))]
}

// sibling is one to be made. entry has no Size, and spool is an empty file or "", when
// it is not worth it.
type sibling struct {
	file
	coding
	spool string // its name in dir
	entry layer.Entry
}

// stat tells a file from another, and from itself before a change; 0 is not known.
type stat struct {
	size, mtime, ctime int64
	inode              uint64
}

// press is one run of Precompress.
type press struct {
	dir, treeDir string
	scannedAt    int64
	roots        roots
	have         map[string]string // the names of finished siblings, by key
}

// spoolName is the key of an original, the size of its sibling, and the coding.
var spoolName = regexp.MustCompile(`^([0-9a-f]{32})\.([0-9]{1,15})\.(gz|br)$`)

// listSpool lists what earlier runs left.
func listSpool(dir string) (map[string]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the directory of compressed files: %w", err)
	}
	have := map[string]string{}
	for _, e := range list {
		if m := spoolName.FindStringSubmatch(e.Name()); m != nil {
			have[m[1]+"."+m[3]] = e.Name()
		}
	}
	return have, nil
}

func (p *press) run(ctx context.Context, work []sibling, jobs int) error {
	if jobs == 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	g, working := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	const run = 16 // files, with one compressor of each coding
	for from := 0; from < len(work) && working.Err() == nil; from += run {
		g.Go(func() error {
			pool := map[string]compressor{}
			for i := from; i < min(from+run, len(work)); i++ {
				if err := working.Err(); err != nil {
					return err
				}
				if err := p.make(&work[i], pool); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// make takes the sibling of an earlier run, or makes it.
func (p *press) make(s *sibling, pool map[string]compressor) error {
	key, vouched := p.key(s)
	if name := p.have[key]; vouched && name != "" {
		if ok, err := p.adopt(s, name); ok || err != nil {
			return err
		}
	}
	c := pool[s.ext]
	if c == nil {
		var err error
		if c, err = s.coding.new(io.Discard); err != nil {
			return err
		}
		pool[s.ext] = c
	}
	temp, size, err := p.compress(s, c)
	if err != nil {
		return err
	}
	name := filepath.Base(temp)
	if vouched {
		base, ext, _ := strings.Cut(key, ".")
		name = base + "." + strconv.FormatInt(size, 10) + "." + ext
		if err := os.Rename(temp, filepath.Join(p.dir, name)); err != nil {
			return errors.Join(fmt.Errorf("naming a compressed file: %w", err), os.Remove(temp))
		}
	}
	ok, err := p.adopt(s, name)
	if err == nil && !ok {
		err = &layer.ChangedError{Path: filepath.Join(p.dir, name), What: "changed"}
	}
	return err
}

// key names a sibling by all that decides it. It is vouched for if a change of the
// original could not have gone unnoticed.
func (p *press) key(s *sibling) (key string, vouched bool) {
	e := s.file.entry
	if e.Source == "" {
		sum := sha256.Sum256(e.Data)
		return hashKey(recipe, s.ext, string(sum[:])) + s.ext, true
	}
	return hashKey(recipe, s.ext, p.treeDir, e.Base, e.Source, strconv.FormatInt(e.Size, 10),
		strconv.FormatInt(e.MTime, 10), strconv.FormatInt(e.CTime, 10),
		strconv.FormatUint(e.Inode, 10)) + s.ext, vouchedFor(e, p.scannedAt)
}

// vouchedFor says that a file cannot have changed since its scan without its times telling.
func vouchedFor(e *layer.Entry, scannedAt int64) bool {
	return e.CTime != 0 && e.Inode != 0 && max(e.MTime, e.CTime) < scannedAt-int64(settled)
}

func hashKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d %s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// compress writes a temporary file; one that is not worth it is empty. It is not synced:
// thousands are written at once, the size in the final name tells what a crash cut short,
// and all can be made again.
func (p *press) compress(s *sibling, c compressor) (name string, size int64, err error) {
	content, err := open(p.roots, s.file.entry)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, content.close()) }()
	f, err := os.CreateTemp(p.dir, "new-*")
	if err != nil {
		return "", 0, fmt.Errorf("compressing %q: %w", s.path, err)
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriterSize(f, 32<<10)
	c.Reset(w)
	n, err := io.Copy(c, content)
	err = errors.Join(err, c.Close(), w.Flush())
	if err == nil && n != s.file.entry.Size {
		err = &layer.ChangedError{Path: content.name(), What: "shrank"}
	}
	if err != nil {
		return "", 0, fmt.Errorf("compressing %q: %w", s.path, err)
	}
	if size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return "", 0, fmt.Errorf("compressing %q: %w", s.path, err)
	}
	if size*100 > s.file.entry.Size*worthPercent {
		size = 0
		err = f.Truncate(0)
	}
	return f.Name(), size, err
}

// adopt makes the entry of a finished sibling. A file that has not the size in its name
// is what a crash left.
func (p *press) adopt(s *sibling, name string) (ok bool, err error) {
	now, err := lstat(filepath.Join(p.dir, name))
	if err != nil {
		return false, fmt.Errorf("looking at a compressed file: %w", err)
	}
	if m := spoolName.FindStringSubmatch(name); m != nil && m[2] != strconv.FormatInt(now.size, 10) {
		return false, nil
	}
	e := s.file.entry
	s.spool = name
	s.entry = layer.Entry{
		Name: e.Name + s.ext, Mode: e.Mode &^ 0o111, UID: e.UID, GID: e.GID,
		Base: p.dir, Source: name, Size: now.size, MTime: now.mtime, CTime: now.ctime, Inode: now.inode,
	}
	return true, nil
}

// sweep removes what this run did not use.
func (p *press) sweep(used map[string]bool) error {
	list, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("reading the directory of compressed files: %w", err)
	}
	for _, e := range list {
		ours := spoolName.MatchString(e.Name()) || strings.HasPrefix(e.Name(), "new-")
		if !ours || used[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(p.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing an old compressed file: %w", err)
		}
	}
	return nil
}
