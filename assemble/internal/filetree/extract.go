package filetree

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// Extract reads the tar of a layer, already decompressed and not trusted, to its
// end and writes the wanted files into dir, which is to be new for each call.
// Names are those that Missing returned. It returns for each the name of the file
// in dir, as Fill takes it; all are 0600. One that the layer does not have is an
// *AbsentError. After an error some files may be left in dir.
func Extract(
	ctx context.Context, r io.Reader, want []string, dir string,
) (map[string]string, error) {
	x := extractor{dir: dir, files: make(map[string]string, len(want))}
	for _, name := range want {
		x.files[name] = ""
	}
	err := readTar(ctx, r, func(h *tar.Header, body io.Reader) error {
		name := clean(h.Name)
		file, wanted := x.files[name]
		if !wanted || !isFile(h) {
			return nil
		}
		if file != "" { // one that comes again is the one that counts
			if err := os.Remove(filepath.Join(dir, file)); err != nil {
				return err
			}
		}
		var err error
		x.files[name], err = x.spool(body)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("extracting from a layer: %w", err)
	}
	for _, name := range want {
		if x.files[name] == "" {
			return nil, &AbsentError{name}
		}
	}
	return x.files, nil
}

// An extractor writes files under numbers.
type extractor struct {
	dir   string
	count int
	files map[string]string
}

func (x *extractor) spool(body io.Reader) (name string, err error) {
	name = strconv.Itoa(x.count)
	x.count++
	f, err := os.OpenFile(filepath.Join(x.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	_, err = io.Copy(f, body)
	return name, err
}

func isFile(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeCont ||
		h.Typeflag == tar.TypeGNUSparse
}
