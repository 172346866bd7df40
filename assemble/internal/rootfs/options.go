package rootfs

import "time"

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
	Bytes  int64 // on disk
}

// PruneOptions choose what Prune removes. The zero value means all that nobody
// uses.
type PruneOptions struct {
	// UnusedFor spares layers that were used more recently.
	UnusedFor time.Duration
	// KeepBytes ends the pruning once the store holds no more than that; the
	// layers that were not used for the longest time go first.
	KeepBytes int64
}

// Pruned is what Prune removed, and what it left because it was in use.
type Pruned struct {
	Layers int
	Bytes  int64
	InUse  int
}
