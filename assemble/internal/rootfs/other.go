//go:build !linux

package rootfs

import (
	"context"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func unsupported() error { return &UnsupportedError{System: runtime.GOOS} }

// A Store cannot exist on this system.
type Store struct{}

// OpenStore returns an UnsupportedError.
func OpenStore(string) (*Store, error) { return nil, unsupported() }

// Unpack returns an UnsupportedError.
func (*Store) Unpack(context.Context, v1.Image, Options) (*Rootfs, error) {
	return nil, unsupported()
}

// Step returns none.
func (*Store) Step(string) (*Step, bool) { return nil, false }

// Write returns an UnsupportedError.
func (*Store) Write(
	context.Context, string, []layer.Entry, func(string) uint32,
) (*Step, error) {
	return nil, unsupported()
}

// Adopt returns an UnsupportedError.
func (*Store) Adopt(context.Context, string, string, AdoptOptions) (*Step, error) {
	return nil, unsupported()
}

// Temp is no directory.
func (*Store) Temp() string { return "" }

// Flatten returns an UnsupportedError.
func Flatten(context.Context, []string, string) error { return unsupported() }

// A Step cannot exist on this system.
type Step struct {
	Dir     string
	Entries []layer.Entry
}

// Close does nothing.
func (*Step) Close() error { return nil }

// Usage returns an UnsupportedError.
func (*Store) Usage(context.Context) (Usage, error) { return Usage{}, unsupported() }

// Prune returns an UnsupportedError.
func (*Store) Prune(context.Context, PruneOptions) (Pruned, error) {
	return Pruned{}, unsupported()
}

// A Rootfs cannot exist on this system.
type Rootfs struct {
	Layers []string
	Config v1.ConfigFile
	Stats  Stats
}

// Close does nothing.
func (*Rootfs) Close() error { return nil }

// Flatten returns an UnsupportedError.
func (*Rootfs) Flatten(context.Context, string) error { return unsupported() }

// Entries returns an UnsupportedError.
func (*Rootfs) Entries(int) ([]layer.Entry, error) { return nil, unsupported() }

// View returns a view in which everything is an UnsupportedError.
func (*Rootfs) View(...string) View { return View{} }

// ReadFile returns an UnsupportedError.
func (*Rootfs) ReadFile(string, int64) ([]byte, error) { return nil, unsupported() }

// LookupUser returns an UnsupportedError.
func (*Rootfs) LookupUser(string) (uid, gid uint32, home string, err error) {
	return 0, 0, "", unsupported()
}

// A View cannot exist on this system.
type View struct{}

// ReadFile returns an UnsupportedError.
func (View) ReadFile(string, int64) ([]byte, error) { return nil, unsupported() }

// LookupUser returns an UnsupportedError.
func (View) LookupUser(string) (uid, gid uint32, home string, err error) {
	return 0, 0, "", unsupported()
}
