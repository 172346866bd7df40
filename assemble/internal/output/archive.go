package output

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// stageOCIArchive writes m as a tar of an OCI layout, which podman, skopeo and docker
// (25 and later) load, with all its platforms.
func stageOCIArchive(
	ctx context.Context, file string, names []imageName, m Manifest, o WriteOptions,
) (*Staged, error) {
	g, err := collect(m)
	if err != nil {
		return nil, err
	}
	index := newIndexFile()
	if err := index.add(g.root, Layout.entries(names)); err != nil {
		return nil, err
	}
	raw, err := index.bytes()
	if err != nil {
		return nil, err
	}
	f, err := stageFile(file, ociArchive, func(w io.Writer) error {
		a := archive{tar.NewWriter(w)}
		if err := a.document(layoutFile, []byte(layoutVersion)); err != nil {
			return err
		}
		if err := a.document(indexFileName, raw); err != nil {
			return err
		}
		if err := a.blobs(ctx, g, o); err != nil {
			return err
		}
		return a.Close()
	})
	if err != nil {
		return nil, err
	}
	return &Staged{g.root.Digest, f}, nil
}

// archive is a tar without times and owners.
type archive struct{ *tar.Writer }

func (a archive) header(name string, size int64) error {
	return a.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644})
}

func (a archive) dir(name string) error {
	return a.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

func (a archive) document(name string, raw []byte) error {
	if err := a.header(name, int64(len(raw))); err != nil {
		return err
	}
	_, err := a.Write(raw)
	return err
}

func (a archive) blob(ctx context.Context, name string, b blob, o WriteOptions) error {
	if err := a.header(name, b.size); err != nil {
		return err
	}
	return copyBlob(ctx, a, b, o)
}

// blobs writes the blobs of a layout, sorted, behind their directories.
func (a archive) blobs(ctx context.Context, g *graph, o WriteOptions) error {
	if err := a.dir(blobsDir); err != nil {
		return err
	}
	algorithm := ""
	for _, b := range g.blobs {
		if b.digest.Algorithm != algorithm {
			algorithm = b.digest.Algorithm
			if err := a.dir(path.Join(blobsDir, algorithm)); err != nil {
				return err
			}
		}
		if err := a.blob(ctx, blobPath(b.digest), b, o); err != nil {
			return err
		}
	}
	return nil
}

// blobPath is where a layout has a blob.
func blobPath(d v1.Hash) string { return path.Join(blobsDir, d.Algorithm, d.Hex) }

// archiveKind tells archives apart by the file that only one of them has.
type archiveKind string

const (
	ociArchive    archiveKind = "OCI archive"
	dockerArchive archiveKind = "docker archive"
)

// mark is the file that an archive of the kind has.
func (k archiveKind) mark() string {
	if k == ociArchive {
		return layoutFile
	}
	return dockerManifest
}

func (k archiveKind) missing() string {
	return fmt.Sprintf("it has no %s: it is no %s", k.mark(), k)
}
