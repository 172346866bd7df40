package assemble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/decant-build/decant/assemble/internal/cache"
	sitecontext "github.com/decant-build/decant/assemble/internal/context"
	"github.com/decant-build/decant/assemble/internal/output"
	"github.com/decant-build/decant/assemble/internal/project"
	"github.com/decant-build/decant/assemble/internal/rootfs"
	"github.com/decant-build/decant/assemble/internal/sandbox"
)

// A project is built in a throwaway container: the node image's layers below, a
// copy of the project at project.Workdir, and the package manager's cache. The
// user's directory is read, and never written.

// MaybeInit is called first thing in the main function of a program that calls
// Build, and in the TestMain of its tests: a build step's container is started by
// executing that program again. Elsewhere it does nothing.
func MaybeInit() { sandbox.MaybeInit() }

// buildProject runs the project's build step and finds the site that it wrote.
func (b *build) buildProject(ctx context.Context) (err error) {
	p := b.input.project
	if b.workspace, err = b.makeWorkspace(); err != nil {
		return err
	}
	app := b.appDir()
	copied, err := sitecontext.CopyProject(ctx, p.Root, app, sitecontext.CopyOptions{
		Never: staleOutputs(p), Need: neededFiles(p),
	})
	if err != nil {
		return err
	}
	b.Progress.Fact("copied", fmt.Sprintf("%d files of the project, %d bytes", copied.Files, copied.Bytes))
	root, err := os.OpenRoot(app)
	if err != nil {
		return err
	}
	defer root.Close()
	before, err := project.FindPages(root.FS())
	if err != nil {
		return err
	}
	if err := b.runSteps(ctx); err != nil {
		return err
	}
	dir, err := p.FindOutput(root.FS(), before)
	if err != nil {
		return err
	}
	b.input.dist = filepath.Join(app, filepath.FromSlash(dir))
	b.input.output = path.Join(filepath.ToSlash(b.input.name), dir)
	b.Progress.Fact("output", b.input.output)
	return nil
}

// makeWorkspace makes the temporary directory of the build step: app is the copy
// of the project, the rest is the sandbox's.
func (b *build) makeWorkspace() (string, error) {
	dir, err := os.MkdirTemp(b.temp(), "build-")
	if err != nil {
		return "", fmt.Errorf("making the workspace: %w", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "app"), 0o755); err != nil {
		return "", errors.Join(fmt.Errorf("making the workspace: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

func (b *build) appDir() string { return filepath.Join(b.workspace, "app") }

// removeWorkspace removes what the build step left, also what it made hard to
// remove.
func (b *build) removeWorkspace() {
	if b.workspace == "" {
		return
	}
	if err := cache.RemoveTree(b.workspace); err != nil {
		b.Progress.Warn("the workspace is not removed: " + err.Error())
	}
}

// staleOutputs are directories that an earlier build on the user's side left:
// the new one starts without. "public" is source in most projects.
func staleOutputs(p *project.Project) []string {
	stale := []string{path.Join(p.Dir, "dist")}
	if first := p.OutputDirs[0]; !p.OutputGiven && path.Base(first) != "public" && first != p.Dir {
		stale = append(stale, first)
	}
	return stale
}

// neededFiles are those without which nothing is built: a .dockerignore that
// leaves them out is a mistake.
func neededFiles(p *project.Project) []string {
	needed := []string{path.Join(p.Dir, "package.json")}
	if p.Lockfile != "" {
		needed = append(needed, p.Lockfile)
	}
	return needed
}

// runSteps sets up, installs and builds.
func (b *build) runSteps(ctx context.Context) error {
	if b.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, b.Timeout, &sandbox.TimeoutError{After: b.Timeout})
		defer cancel()
	}
	p := b.input.project
	r, err := b.openRunner(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := r.close(); err != nil {
			b.Progress.Warn("the sandbox is not removed: " + err.Error())
		}
	}()
	for _, s := range []task{
		{name: "setup", command: p.Setup},
		{name: "install", command: p.Install},
		{name: "build", command: p.Build, noNetwork: b.NoNetwork},
	} {
		if s.command == "" {
			continue
		}
		if err := b.runStep(ctx, r, s); err != nil {
			return err
		}
	}
	return r.collect(ctx)
}

// task is one command of a project's build.
type task struct {
	name, command string
	noNetwork     bool
}

func (b *build) runStep(ctx context.Context, r runner, s task) error {
	out, done := b.Progress.Step(s.name, s.command)
	last := &tail{}
	err := r.run(ctx, s, fanOut{out, last})
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		err = &StepError{Step: s.name, Command: s.command, Code: exit.Code, Reason: exit.Reason, Tail: last.String(),
			Fix: project.Hint(s.name, exit.Code, last.String())}
	}
	done(err)
	return err
}

// unpackBuilder makes the node image's layers ready to run on.
func (b *build) unpackBuilder(ctx context.Context) (*rootfs.Rootfs, error) {
	ref := b.input.project.Node.Image
	builder, err := b.openImage(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("builder %s: %w", ref, err)
	}
	if builder.Close != nil {
		defer builder.Close()
	}
	img, err := hostImage(builder, ref)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.workspace, "rootfs")
	if b.cache != nil {
		dir = rootfsDir(b.CacheDir)
	}
	store, err := rootfs.OpenStore(dir)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	root, err := store.Unpack(ctx, img, rootfs.Options{})
	if err != nil {
		return nil, fmt.Errorf("unpacking builder %s: %w", ref, err)
	}
	text := ref
	if root.Stats.Unpacked > 0 {
		text += fmt.Sprintf(", %d layers unpacked in %.1f s", root.Stats.Unpacked, time.Since(start).Seconds())
	}
	b.Progress.Fact("builder", text)
	return root, nil
}

// openImage opens a base or builder, wherever it is.
func (b *build) openImage(ctx context.Context, ref string) (*Base, error) {
	if !isFileBase(ref) {
		return b.Pull(ctx, ref)
	}
	source, err := output.Open(ctx, ref, b.TempDir)
	if err != nil {
		return nil, err
	}
	return &Base{Digest: source.Digest, Index: source.Index, Image: source.Image, Close: source.Close}, nil
}

// secretPath is where a secret is in the build step, as in docker build.
func secretPath(id string) string { return "/run/secrets/" + id }

// stepEnv is what every step sees: the image's environment, the project's, the
// user's.
func (b *build) stepEnv(image []string) []string {
	env := append([]string{}, image...)
	set := func(name, value string) { env = setVariable(env, name, value) }
	set("HOME", "/root")
	for _, v := range b.input.project.Env {
		set(v.Name, v.Value)
	}
	if b.input.project.Lockfile != "" {
		// The lockfile says what a package has to be, so a cached one need not be asked for.
		set("npm_config_prefer_offline", "true")
	}
	if limit := heapLimit(); limit > 0 {
		set("NODE_OPTIONS", fmt.Sprintf("--max-old-space-size=%d", limit))
	}
	if b.CABundle != "" {
		set("NODE_EXTRA_CA_CERTS", caPath)
	}
	for _, kv := range slices.Concat(npmrcEnv(b.Secrets), b.Proxies, b.BuildEnv) {
		name, value, _ := strings.Cut(kv, "=")
		set(name, value)
	}
	return env
}

// npmrcEnv makes the secret called npmrc npm's own configuration.
func npmrcEnv(secrets []Secret) []string {
	for _, s := range secrets {
		if s.ID == "npmrc" {
			return []string{"NPM_CONFIG_USERCONFIG=" + secretPath(s.ID)}
		}
	}
	return nil
}

// caPath is the host's bundle in the sandbox.
const caPath = "/run/decant/ca.pem"

// setVariable replaces or adds one.
func setVariable(env []string, name, value string) []string {
	for i, kv := range env {
		if strings.HasPrefix(kv, name+"=") {
			env[i] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}
