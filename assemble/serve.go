package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/image"
	"github.com/decant-build/decant/assemble/internal/rootfs"
	"github.com/decant-build/decant/assemble/internal/sandbox"
)

// ServeOptions says what to serve, and where.
type ServeOptions struct {
	// Image is what is run; of an index, the image for this machine.
	Image *Base
	// Name is what messages call it.
	Name string
	// Command is executed in place of the image's own, by its entrypoint if it has
	// one.
	Command []string
	// Listener takes the connections; Serve closes it. nil is none. Port is where the
	// image listens; 0 is the port that it exposes, or else 80.
	Listener net.Listener
	Port     int
	// Output takes what the image prints, Errors what it prints to standard error.
	Output, Errors io.Writer

	// CacheDir keeps the unpacked image for the next time; "" unpacks it into
	// TempDir, and removes it.
	CacheDir string
	TempDir  string
	Chroot   bool // see IsolationChroot
	Warn     func(string)
}

// Serve runs an image's entrypoint and command in a throwaway container that has
// no network but the connections that Listener takes, until they end or ctx
// does. Nothing of it is left then.
func Serve(ctx context.Context, o ServeOptions) (err error) {
	if o.Listener != nil {
		defer o.Listener.Close()
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	img, err := hostImage(o.Image, o.Name)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(o.TempDir, "decant-run-")
	if err != nil {
		return fmt.Errorf("making a directory for the container: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	dir, boxes := filepath.Join(temp, "rootfs"), filepath.Join(temp, "sandbox")
	if o.CacheDir != "" {
		dir, boxes = rootfsDir(o.CacheDir), filepath.Join(o.CacheDir, "run")
		if err := sandbox.Sweep(boxes); err != nil { // of runs that were killed
			o.Warn(err.Error())
		}
	}
	store, err := rootfs.OpenStore(dir)
	if err != nil {
		return err
	}
	root, err := store.Unpack(ctx, img, rootfs.Options{})
	if err != nil {
		return fmt.Errorf("unpacking %s: %w", o.Name, err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	step, err := o.step(root)
	if err != nil {
		return err
	}
	config := sandbox.Config{
		Lower: root.Layers, Dir: boxes, Flatten: root.Flatten,
		Hostname: "decant", Warn: o.Warn,
	}
	if o.Chroot {
		config.Isolation = sandbox.Chroot
	}
	box, err := sandbox.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	return box.Run(ctx, step)
}

// step is the image's own entrypoint and command.
func (o *ServeOptions) step(root *rootfs.Rootfs) (sandbox.Step, error) {
	c := root.Config.Config
	command := c.Cmd
	if len(o.Command) > 0 {
		command = o.Command
	}
	args := slices.Concat(c.Entrypoint, command)
	if len(args) == 0 {
		return sandbox.Step{}, &InputError{Dir: o.Name, What: "it has neither entrypoint nor command",
			Fix: "an image on --base scratch has no server: build it on a web server's image"}
	}
	uid, gid, home, err := root.LookupUser(c.User)
	if err != nil {
		return sandbox.Step{}, err
	}
	port := o.Port
	if port == 0 {
		port = exposedPort(c.ExposedPorts)
	}
	env := slices.Clone(c.Env)
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "HOME=") }) {
		env = append(env, "HOME="+home)
	}
	step := sandbox.Step{
		Args: args, Env: env, Dir: c.WorkingDir, UID: int(uid), GID: int(gid),
		Stdout: o.Output, Stderr: o.Errors, NoNetwork: true,
	}
	if o.Listener != nil {
		step.Forward = []sandbox.Forward{{Listener: o.Listener, Port: port}}
	}
	return step, nil
}

// exposedPort is the lowest TCP port that an image exposes, or else 80.
func exposedPort(exposed map[string]struct{}) int {
	lowest := 0
	for text := range exposed {
		number, protocol, _ := strings.Cut(text, "/")
		n, err := strconv.Atoi(number)
		if err == nil && protocol != "udp" && n > 0 && n < 1<<16 && (lowest == 0 || n < lowest) {
			lowest = n
		}
	}
	if lowest == 0 {
		return 80
	}
	return lowest
}

// hostImage is the image for this machine's processor, on Linux.
func hostImage(base *Base, name string) (v1.Image, error) {
	if base.Image != nil {
		return base.Image, nil
	}
	have, err := image.Platforms(base.Index)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	want := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	platforms, names := platformsOf(have)
	i, ok := image.Match(platforms, want)
	if !ok {
		return nil, &PlatformError{Base: name, Platform: platformText(want), Have: names}
	}
	return base.Index.Image(have[i].Digest)
}

// platformsOf lists the platforms of descriptors, and how users write them.
func platformsOf(have []v1.Descriptor) (platforms []v1.Platform, names []string) {
	for _, d := range have {
		platforms = append(platforms, *d.Platform)
		names = append(names, platformText(*d.Platform))
	}
	return platforms, names
}
