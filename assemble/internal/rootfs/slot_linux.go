package rootfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// idLength keeps paths short; the whole chain ID is in the record.
	idLength = 32
	// maxBlob is what the size of a blob may at most claim to be.
	maxBlob = 1 << 50
)

// A place is where the store has, or is to have, a layer or a step.
type place struct {
	id     string // its directory, and its lock
	chain  string // all of what the ID is the front of
	lock   *lock
	record record
	ready  bool // it is there, and the lock is shared
}

// A slot is one layer of one Unpack.
type slot struct {
	source
	place
	index int
	x     *extraction // until it is ready, once the tar is read
}

// slotsOf reads the manifest and the configuration, and checks the latter: the
// diffIDs come from there.
func slotsOf(img v1.Image) ([]*slot, *v1.ConfigFile, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the manifest: %w", err)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	sum := sha256.Sum256(raw)
	if got := hex.EncodeToString(sum[:]); got != manifest.Config.Digest.Hex {
		return nil, nil, &DigestError{"configuration", manifest.Config.Digest.String(), "sha256:" + got}
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	slots, err := slotsFrom(img, manifest.Layers, config.RootFS.DiffIDs)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the image: %w", err)
	}
	return slots, config, nil
}

func slotsFrom(img v1.Image, blobs []v1.Descriptor, diffIDs []v1.Hash) ([]*slot, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != len(blobs) || len(layers) != len(diffIDs) {
		return nil, fmt.Errorf("it has %d layers in its manifest but %d in its configuration",
			len(blobs), len(diffIDs))
	}
	if len(layers) > maxLayers {
		return nil, &LimitError{"layers", maxLayers}
	}
	slots := make([]*slot, len(layers))
	for i, l := range layers {
		b, diffID := blobs[i], diffIDs[i]
		if b.Digest.Algorithm != "sha256" || diffID.Algorithm != "sha256" || len(diffID.Hex) != 64 {
			return nil, fmt.Errorf("layer %d has a digest that is not sha256", i+1)
		}
		if b.Size < 0 || b.Size > maxBlob {
			return nil, fmt.Errorf("layer %d has a size of %d bytes", i+1, b.Size)
		}
		chain := diffID.String()
		if i > 0 {
			sum := sha256.Sum256([]byte(slots[i-1].chain + " " + chain))
			chain = "sha256:" + hex.EncodeToString(sum[:])
		}
		slots[i] = &slot{
			source: source{l, b.Digest, diffID, b.Size}, index: i,
			place: place{chain: chain, id: strings.TrimPrefix(chain, "sha256:")[:idLength]},
		}
	}
	return slots, nil
}

// explain says which layer and which entry it is.
func (sl *slot) explain(err error) error {
	if err == nil {
		return nil
	}
	le := &LayerError{Index: sl.index, Digest: sl.digest, Err: err}
	var ee *entryError
	if errors.As(err, &ee) {
		le.Entry, le.Err = ee.name, ee.err
	}
	return le
}

// progress adds up what the goroutines of one Unpack have read.
type progress struct {
	tell func(Progress)
	mu   sync.Mutex
	now  Progress
}

func (p *progress) add(n int) { p.change(func(now *Progress) { now.BytesDone += int64(n) }) }

func (p *progress) done(err error) {
	if err == nil {
		p.change(func(now *Progress) { now.LayersDone++ })
	}
}

func (p *progress) change(change func(*Progress)) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.now)
	p.tell(p.now)
}
