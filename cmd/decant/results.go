package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/decant-build/decant/assemble"
)

// writeResultFiles writes what scripts read after a build. The image is
// finished by then, so an error here says where it is.
func (o *buildOptions) writeResultFiles(r *assemble.Result, d destinations) error {
	write := func(file string, data []byte) error {
		if file == "" {
			return nil
		}
		if err := writeFile(file, data); err != nil {
			return fmt.Errorf("%w (the image is finished: %s)", err, strings.Join(r.References, " "))
		}
		return nil
	}
	metadata, err := json.MarshalIndent(metadataOf(r, d), "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		write(o.digestFile, []byte(r.Digest.String())),
		write(o.metadataFile, append(metadata, '\n')),
		write(o.imageRefs, imageRefs(r)),
	)
}

// metadata has the names that docker buildx gives the same facts.
type metadata struct {
	Descriptor descriptor `json:"containerimage.descriptor"`
	Digest     string     `json:"containerimage.digest"`
	Name       string     `json:"image.name,omitempty"`
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

func metadataOf(r *assemble.Result, d destinations) metadata {
	names := d.refs
	for _, out := range d.outputs {
		for _, name := range out.Names {
			if len(d.refs) == 0 {
				names = append(names, name)
			}
		}
	}
	return metadata{
		Descriptor: descriptor{string(r.MediaType), r.Digest.String(), r.Size},
		Digest:     r.Digest.String(),
		Name:       strings.Join(names, ","),
	}
}

// imageRefs lists each pushed reference with those of its platforms, as ko
// does: the index first, then its images.
func imageRefs(r *assemble.Result) []byte {
	var b bytes.Buffer
	for _, ref := range r.References {
		fmt.Fprintln(&b, ref)
		repo, _, _ := strings.Cut(ref, "@")
		for _, image := range r.Images {
			if image.Digest != r.Digest {
				fmt.Fprintf(&b, "%s@%s\n", repo, image.Digest)
			}
		}
	}
	return b.Bytes()
}

// writeFile replaces file as a whole or not at all.
func writeFile(file string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".decant-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("writing %s: %w", file, err)
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
