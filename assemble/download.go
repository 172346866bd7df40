package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/layer"
)

// download is a file that ADD fetched.
type download struct {
	name string
	tree *filetree.Tree // has the file at its top
}

// maxDownload bounds what ADD fetches.
const maxDownload = 10 << 30

// download fetches a URL of an ADD, once. Its mode is 0600, as docker's.
func (x *executor) download(ctx context.Context, from, checksum string) (download, error) {
	x.downloads.Lock()
	defer x.downloads.Unlock()
	id := cache.Key(from, checksum)
	if d, ok := x.fetched[id]; ok {
		return d, nil
	}
	d, err := x.get(ctx, from, checksum)
	if err != nil {
		return d, fmt.Errorf("ADD %s: %w", from, err)
	}
	x.fetched[id] = d
	return d, nil
}

func (x *executor) get(ctx context.Context, from, checksum string) (d download, err error) {
	u, err := url.Parse(from)
	if err != nil {
		return d, err
	}
	if d.name = path.Base(u.Path); d.name == "/" || d.name == "." || d.name == ".." {
		return d, &DownloadError{What: "the URL names no file", Fix: "end the destination in the name that the file is to have"}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return d, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return d, &DownloadError{What: "the server answers " + resp.Status, Fix: "check the URL, or put the file into the context"}
	}
	dir, err := os.MkdirTemp(x.dir, "url-")
	if err != nil {
		return d, err
	}
	entry := layer.Entry{Name: d.name, Mode: 0o600, Base: dir, Source: "file", MTime: time.Unix(1, 0).UnixNano()}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil && t.Unix() > 0 {
		entry.MTime = t.UnixNano()
	}
	if err := spoolBody(resp.Body, &entry, checksum); err != nil {
		return d, err
	}
	d.tree = filetree.New()
	return d, d.tree.Apply([]layer.Entry{entry}, noOrigin)
}

// spoolBody writes the content beside the entry's directory and completes the entry.
func spoolBody(body io.Reader, e *layer.Entry, checksum string) (err error) {
	f, err := os.OpenFile(filepath.Join(e.Base, e.Source), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	if e.Size, err = io.Copy(io.MultiWriter(f, sum), io.LimitReader(body, maxDownload+1)); err != nil {
		return err
	}
	if e.Size > maxDownload {
		return &DownloadError{What: fmt.Sprintf("larger than %d GiB", maxDownload>>30), Fix: "put the file into the context"}
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); checksum != "" && got != checksum {
		return &DownloadError{What: fmt.Sprintf("its content is %s, and not %s", got, checksum),
			Fix: "if the new content is what you want, change --checksum"}
	}
	t := time.Unix(0, e.MTime)
	return os.Chtimes(f.Name(), t, t)
}

// DownloadError is a file that ADD could not fetch.
type DownloadError struct{ What, Fix string }

func (e *DownloadError) Error() string { return e.What }

// Hint says what to do about it.
func (e *DownloadError) Hint() string { return e.Fix }
