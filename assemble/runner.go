package assemble

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/project"
	"github.com/decant-build/decant/assemble/internal/rootfs"
	"github.com/decant-build/decant/assemble/internal/sandbox"
)

// runner executes the steps of a project's build.
type runner interface {
	run(ctx context.Context, s task, out io.Writer) error
	// collect brings what the steps wrote into the workspace's app directory.
	collect(ctx context.Context) error
	close() error
}

// openRunner makes the place in which the steps run.
func (b *build) openRunner(ctx context.Context) (runner, error) {
	if b.Isolation == IsolationNone {
		b.Progress.Warn("--isolation none: the build runs on this machine with this user's rights, in a copy of the project")
		return &hostRunner{dir: b.appDir(), env: b.hostEnv()}, nil
	}
	root, err := b.unpackBuilder(ctx)
	if err != nil {
		return nil, err
	}
	r := &boxRunner{build: b, root: root, env: b.stepEnv(root.Config.Config.Env)}
	config := sandbox.Config{
		Lower: root.Layers, Dir: filepath.Join(b.workspace, "sandbox"), Flatten: root.Flatten,
		Hostname: "decant", Warn: b.Progress.Warn,
	}
	if b.Isolation == IsolationChroot {
		config.Isolation = sandbox.Chroot
		b.Progress.Warn("--isolation chroot keeps nothing from the build step: use it only on a machine that is itself thrown away")
	}
	if r.box, err = sandbox.Open(ctx, config); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if err := r.prepare(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// boxRunner runs steps in a sandbox.
type boxRunner struct {
	build *build
	root  *rootfs.Rootfs
	box   *sandbox.Sandbox
	env   []string
	binds []sandbox.Bind
	files []sandbox.Secret
	// caches are shown to the install command only: a build script could leave in
	// them what another project would run. Setting up the package manager has one of
	// its own, as install scripts of packages can write to theirs.
	caches []sandbox.Bind
	setup  sandbox.Bind
}

// prepare lays out what every step sees beyond the image.
func (r *boxRunner) prepare(ctx context.Context) error {
	for _, s := range r.build.Secrets {
		r.files = append(r.files, sandbox.Secret{Target: secretPath(s.ID), Data: s.Data})
	}
	if r.build.CABundle != "" {
		r.binds = append(r.binds, sandbox.Bind{Source: r.build.CABundle, Target: caPath, ReadOnly: true})
	}
	if r.chroot() {
		return r.importApp(ctx)
	}
	r.binds = append(r.binds, sandbox.Bind{Source: r.build.appDir(), Target: project.Workdir})
	if r.build.cache == nil {
		return nil
	}
	p := r.build.input.project
	for name, target := range packageCaches(p) {
		if p.Lockfile == "" {
			// Nothing says what a download has to be: what other projects left in the
			// cache is not to be trusted.
			name += "-" + cache.Key(r.build.input.identity)[:16]
		}
		dir, err := r.build.cache.Packages(ctx, name)
		if err != nil {
			return err
		}
		r.caches = append(r.caches, sandbox.Bind{Source: dir, Target: target})
	}
	setup, err := r.build.cache.Packages(ctx, "setup")
	r.setup = sandbox.Bind{Source: setup, Target: npmCache(p)}
	return err
}

// packageCaches are the directories that package managers keep between builds,
// by their name in decant's cache. npm's is there for all: it sets the others up.
func packageCaches(p *project.Project) map[string]string {
	return map[string]string{string(p.Manager.Name): p.Manager.CacheDir, string(project.NPM): npmCache(p)}
}

// npmCache is where npm keeps downloads in the sandbox.
func npmCache(p *project.Project) string {
	for _, v := range p.Env {
		if v.Name == "npm_config_cache" {
			return v.Value
		}
	}
	return p.Manager.CacheDir
}

func (r *boxRunner) chroot() bool { return r.build.Isolation == IsolationChroot }

func (r *boxRunner) run(ctx context.Context, s task, out io.Writer) error {
	binds := slices.Clone(r.binds)
	switch {
	case s.name == "install":
		binds = append(binds, r.caches...)
	case s.name == "setup" && r.setup.Source != "":
		binds = append(binds, r.setup)
	}
	return r.box.Run(ctx, sandbox.Step{
		Args: []string{"/bin/sh", "-c", s.command}, Env: r.env, Dir: project.Workdir,
		Stdout: out, Stderr: out,
		Binds: binds, Secrets: r.files, NoNetwork: s.noNetwork,
	})
}

func (r *boxRunner) close() error { return errors.Join(r.box.Close(), r.root.Close()) }

// importApp copies the workspace into a root where nothing can be bound.
func (r *boxRunner) importApp(ctx context.Context) error {
	reader, writer := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		tw := tar.NewWriter(writer)
		err := errors.Join(tw.AddFS(os.DirFS(r.build.appDir())), tw.Close())
		return errors.Join(err, writer.CloseWithError(err))
	})
	err := r.box.Import(ctx, project.Workdir, reader)
	reader.CloseWithError(err)
	return errors.Join(err, g.Wait())
}

// collect copies the workspace back out of such a root, without node_modules.
func (r *boxRunner) collect(ctx context.Context) error {
	if !r.chroot() {
		return nil
	}
	app, err := os.OpenRoot(r.build.appDir())
	if err != nil {
		return err
	}
	defer app.Close()
	reader, writer := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		return writer.CloseWithError(r.box.Export(ctx, project.Workdir, writer))
	})
	err = extractApp(app, tar.NewReader(reader))
	reader.CloseWithError(err)
	return errors.Join(err, g.Wait())
}

// extractApp writes files, directories and links below app, and nothing outside.
func extractApp(app *os.Root, r *tar.Reader) error {
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if name == "." || strings.Contains("/"+name+"/", "/node_modules/") {
			continue
		}
		if err := extractEntry(app, name, h, r); err != nil {
			return fmt.Errorf("copying %q out of the sandbox: %w", h.Name, err)
		}
	}
}

func extractEntry(app *os.Root, name string, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return app.MkdirAll(name, 0o755)
	}
	if err := app.RemoveAll(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		return app.Symlink(h.Linkname, name)
	case tar.TypeReg:
		f, err := app.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600|fs.FileMode(h.Mode)&0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close(), app.Chtimes(name, h.ModTime, h.ModTime))
	}
	return nil // a device or fifo is no part of a site
}
