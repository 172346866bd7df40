package site

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/decant-build/decant/assemble/internal/layer"
)

const (
	// maxPage bounds a page: a larger one is searched for secrets only.
	maxPage = 8 << 20
	// window is how much of a file is searched at a time, and overlap how much of it is
	// searched again with what follows: nothing that is looked for is longer.
	window  = 256 << 10
	overlap = 4 << 10
)

// report is what the content of one file says.
type report struct {
	secrets     []Finding // without a Path
	workers     []string  // scripts that are registered as service workers, as written
	localhost   int       // the line of the first address of this machine; 0 is none
	inlineMap   int       // the line of a source map in a comment; 0 is none
	makesStyles bool
	wasm        bool
	legacy      bool // it is text in another encoding than UTF-8
	page        *page
}

// reader reads files one after the other, in a buffer that it keeps.
type reader struct{ buf []byte }

// read fills in the report of a file.
func (r *reader) read(from roots, f file, out *report) (err error) {
	ext := strings.ToLower(path.Ext(f.path))
	if opaque[ext] {
		return nil
	}
	content, err := open(from, f.entry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, content.close()) }()
	if isPage(ext) && f.entry.Size <= maxPage {
		return r.readPage(content, out)
	}
	if isPage(ext) {
		out.page = &page{unread: true}
	}
	return r.search(content, out)
}

func isPage(ext string) bool { return ext == ".html" || ext == ".htm" || ext == ".xhtml" }

func (r *reader) readPage(content *source, out *report) error {
	data, err := io.ReadAll(io.LimitReader(content, maxPage+1))
	if err != nil {
		return content.fault(err)
	}
	if err := r.search(bytes.NewReader(data), out); err != nil {
		return err
	}
	out.legacy = !utf8.Valid(data)
	out.page = readPage(data)
	return nil
}

// search goes through content window by window.
func (r *reader) search(content io.Reader, out *report) error {
	if r.buf == nil {
		r.buf = make([]byte, window)
	}
	s := searcher{report: out, line: 1}
	kept := 0
	for first := true; ; first = false {
		n, err := io.ReadFull(content, r.buf[kept:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		s.text = r.buf[:kept+n]
		if first {
			out.legacy = !validText(s.text, last)
		}
		// The byte before is kept too: a token does not begin inside a word.
		s.start, s.end = min(kept, 1), len(s.text)
		if !last {
			s.end -= overlap
		}
		s.run()
		if last {
			return nil
		}
		done := s.end - 1
		s.line += bytes.Count(s.text[:done], newline)
		kept = copy(r.buf, s.text[done:])
	}
}

var newline = []byte("\n")

// validText says whether the beginning of a file is UTF-8. If it is not all of the file
// it may end inside a character.
func validText(text []byte, whole bool) bool {
	if whole {
		return utf8.Valid(text)
	}
	for cut := range utf8.UTFMax {
		if utf8.Valid(text[:len(text)-cut]) {
			return true
		}
	}
	return false
}

// opaque are the endings of what holds no text, or holds it compressed.
var opaque = map[string]bool{
	".avif": true, ".bmp": true, ".gif": true, ".ico": true, ".jpeg": true, ".jpg": true,
	".jxl": true, ".png": true, ".webp": true, ".eot": true, ".otf": true, ".ttf": true,
	".woff": true, ".woff2": true, ".aac": true, ".flac": true, ".m4a": true, ".m4v": true,
	".mov": true, ".mp3": true, ".mp4": true, ".oga": true, ".ogg": true, ".ogv": true,
	".opus": true, ".wav": true, ".weba": true, ".webm": true, ".7z": true, ".br": true,
	".bz2": true, ".gz": true, ".pdf": true, ".rar": true, ".tgz": true, ".xz": true, ".zip": true,
	".zst": true, ".glb": true, ".svgz": true,
}

// source reads what an entry says it has, and no more.
type source struct {
	io.Reader
	entry *layer.Entry
	file  *os.File // nil for content that is in the entry
}

// open opens the content of an entry, which has to be the file that was scanned.
func open(from roots, e *layer.Entry) (*source, error) {
	if e.Source == "" {
		return &source{Reader: bytes.NewReader(e.Data), entry: e}, nil
	}
	c := &source{entry: e}
	f, err := from[e.Base].OpenFile(filepath.FromSlash(e.Source), openFlags, 0)
	if err != nil {
		return nil, c.fault(err)
	}
	c.file = f
	if err := c.check(); err != nil {
		f.Close()
		return nil, err
	}
	c.Reader = io.LimitReader(f, e.Size)
	return c, nil
}

func (c *source) fault(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &layer.ChangedError{Path: c.name(), What: "vanished"}
	}
	return fmt.Errorf("reading %q: %w", c.name(), err)
}

func (c *source) name() string { return filepath.Join(c.entry.Base, c.entry.Source) }

// check compares the open file with its scan.
func (c *source) check() error {
	info, err := c.file.Stat()
	if err != nil {
		return c.fault(err)
	}
	what := ""
	switch {
	case !info.Mode().IsRegular():
		what = "was replaced"
	case info.Size() != c.entry.Size, c.entry.MTime != 0 && info.ModTime().UnixNano() != c.entry.MTime:
		what = "changed"
	default:
		return nil
	}
	return &layer.ChangedError{Path: c.name(), What: what}
}

// close checks once more that what was read is what was scanned.
func (c *source) close() error {
	if c.file == nil {
		return nil
	}
	err := c.check()
	c.file.Close() // it was only read
	return err
}
