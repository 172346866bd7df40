package plan

import (
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ResolveOptions are what a build says about a Dockerfile.
type ResolveOptions struct {
	Target    string // as Dockerfile.Target takes it
	BuildArgs map[string]string
	// BuildPlatform is that of the machine that builds, TargetPlatform that of the
	// image.
	BuildPlatform, TargetPlatform v1.Platform
}

// Graph is the stages that a target needs, for one platform. It is safe for
// concurrent use.
type Graph struct {
	Target int
	// Stages are by index, nil where the target does not need one.
	Stages   []*ResolvedStage
	Warnings []Warning
}

// ResolvedStage is a stage whose base is known by name.
type ResolvedStage struct {
	Index int
	Name  string // lower-case; "" if it has none
	Line  int    // of FROM
	Text  string // FROM as it is written
	Base  StageBase
	// Platform is what a base image is taken for. A stage that starts from another
	// has that one's.
	Platform      v1.Platform
	PlatformGiven bool // by FROM --platform
	// NeedsStages are the stages whose files are copied or mounted, and not the
	// base; NeedsImages the images. Both are sorted. What triggers of the base image
	// need is not in them, but in what Evaluate returns.
	NeedsStages []int
	NeedsImages []string
}

// StageBase is what FROM names.
type StageBase struct {
	Stage   int    // -1 if it is no stage
	Image   string // "" if it is a stage or scratch
	Scratch bool
}

// Resolve expands every FROM and finds the stages that the target needs. The
// error is a *DockerfileError with all faults of the file at once, or what
// Target returns.
func (d *Dockerfile) Resolve(o ResolveOptions) (*Graph, error) {
	return nil, errors.ErrUnsupported
}

// Stage returns any stage of the file, needed or not: a trigger of a base image
// can need one that the file alone does not.
func (g *Graph) Stage(index int) *ResolvedStage {
	return g.Stages[index]
}

// Print returns a Dockerfile with the stages that are needed, as they are written.
func (g *Graph) Print() string {
	return ""
}
