package rootfs

import (
	"time"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Options of Unpack. The zero value is good.
type Options struct {
	// Concurrency is how many layers are downloaded and unpacked at the same
	// time; 0 means 4.
	Concurrency int
	// Limits bound what a layer may hold.
	Limits Limits
	// Progress, if set, is told how far the layers are that were not in the
	// store. It is called from several goroutines, one at a time, and should
	// return at once.
	Progress func(Progress)
}

// Limits bound one layer. A field that is 0 has the default given here, far
// above what real images hold.
type Limits struct {
	Bytes      int64 // of the tar, and of the files in it: 50 GiB
	Ratio      int64 // of the tar to its compressed bytes: 250
	RatioFrom  int64 // bytes of a tar from which on Ratio counts: 1 GiB
	Entries    int   // 2 million
	PathLength int   // of a name after symlinks are resolved: 3840
	XattrBytes int   // of one entry's extended attributes: 64 KiB
}

const (
	defaultConcurrency = 4
	// maxDepth is how many directories may lie in one another: removing a tree
	// holds one descriptor for each.
	maxDepth = 512
	// nodeSize is about what one directory or link of a layer takes in memory while
	// it is unpacked, and maxHeld what all of them may take.
	nodeSize = 200
	maxHeld  = 256 << 20
	// maxLinks is how many symlinks one name may lead through, as in the kernel.
	maxLinks = 40
	// maxLayers is what overlayfs takes: 500, less a few for the caller.
	maxLayers = 490
)

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 50 << 30
	}
	if l.Ratio == 0 {
		l.Ratio = 250
	}
	if l.RatioFrom == 0 {
		l.RatioFrom = 1 << 30
	}
	if l.Entries == 0 {
		l.Entries = 2_000_000
	}
	if l.PathLength == 0 {
		// The kernel's limit is 4096 with the directory of the layer before it.
		l.PathLength = 3840
	}
	if l.XattrBytes == 0 {
		l.XattrBytes = 64 << 10
	}
	return l
}

// Progress of an Unpack, over the layers that were not in the store.
type Progress struct {
	Layers, LayersDone int
	Bytes, BytesDone   int64 // compressed
}

// Stats say what an Unpack did.
type Stats struct {
	Unpacked, Reused int // layers
	Entries          int // files, directories and links of all layers
	Devices          int // device nodes that were left out
	Xattrs           int // extended attributes that were left out
}

// Usage is what a store holds.
type Usage struct {
	Layers int
	InUse  int   // layers that somebody has open
	Bytes  int64 // of the layers, on disk
	Steps  StepUsage
}

// StepUsage is a number of steps, how many of them, or besides them, somebody has
// open, and what they take on disk.
type StepUsage struct {
	Steps int
	InUse int
	Bytes int64
}

// PruneOptions choose what Prune removes. The zero value means all that nobody
// uses.
type PruneOptions struct {
	// UnusedFor spares what was used more recently.
	UnusedFor time.Duration
	// KeepBytes ends the pruning once the store holds no more than that; the
	// layers and steps that were not used for the longest time go first.
	KeepBytes int64
}

// Pruned is what Prune removed, and what it left because it was in use.
type Pruned struct {
	Layers int
	Bytes  int64 // of the layers
	InUse  int   // layers
	Steps  StepUsage
}

// Owner is a user and a group of the image, as numbers. One that is -1 is as it was.
type Owner struct{ UID, GID int64 }

// AdoptOptions say what a directory of changes does not.
type AdoptOptions struct {
	// UID and GID own the files that the step made: it ran as them.
	UID, GID uint32
	// Lower returns what the layers below have under a name, without following a
	// symlink in its last element; ok is false if that is nothing. It is asked only
	// for names in directories that are there as well, and may be nil if there is
	// nothing below.
	Lower func(name string) (e layer.Entry, ok bool)
	// Recorded are the owners of symlinks and other nodes that cannot hold the
	// attribute in which those of files and directories are.
	Recorded map[string]Owner
	// Skip are names that the step did not make. They are removed, with all below.
	Skip []string
}
