package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

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
		write(o.imageRefs, imageRefs(r, d)),
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
	return metadata{
		Descriptor: descriptor{string(r.MediaType), r.Digest.String(), r.Size},
		Digest:     r.Digest.String(),
		Name:       strings.Join(d.names(), ","),
	}
}

// names are those that the image was pushed under, or else those it has on disk,
// each once.
func (d destinations) names() []string {
	all := d.refs
	if len(all) == 0 {
		for _, out := range d.outputs {
			all = append(all, out.Names...)
		}
	}
	var once []string
	for _, ref := range all {
		if !slices.Contains(once, ref) {
			once = append(once, ref)
		}
	}
	return once
}

// imageRefs lists each pushed reference with those of its platforms, as ko
// does: the index first, then its images. If nothing was pushed, it lists what was
// written.
func imageRefs(r *assemble.Result, d destinations) []byte {
	var b bytes.Buffer
	for _, ref := range r.References {
		repo, _, _ := strings.Cut(ref, "@")
		if len(d.refs) > 0 && !d.pushesTo(repo) {
			continue
		}
		fmt.Fprintln(&b, ref)
		for _, image := range r.Images {
			if image.Digest != r.Digest {
				fmt.Fprintf(&b, "%s@%s\n", repo, image.Digest)
			}
		}
	}
	return b.Bytes()
}

// pushesTo tells whether a name that is pushed is in repo, which is written as in a
// reference of the result.
func (d destinations) pushesTo(repo string) bool {
	return slices.ContainsFunc(d.refs, func(ref string) bool {
		parsed, err := name.ParseReference(ref)
		return err == nil && canonicalName(parsed.Context().Name()) == repo
	})
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
