package assemble

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/filetree"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/plan"
	"github.com/decant-build/decant/assemble/internal/sandbox"
)

// command makes the sandbox's step of a RUN. release gives its mounts back, also
// after an error.
func (st *step) command(ctx context.Context, e plan.RunExec, home string) (_ sandbox.Step, release func(), err error) {
	m := mounter{step: st}
	m.what = sandbox.Step{
		Args: e.Argv, Env: st.stepEnv(e, home), Dir: e.Dir,
		NoNetwork: st.stage.NoNetwork || e.Network == "none",
	}
	if err := m.inline(e.Files); err != nil {
		return m.what, m.release, st.fault(err)
	}
	for _, mount := range e.Mounts {
		if err := m.add(ctx, mount); err != nil {
			return m.what, m.release, st.fault(fmt.Errorf("--mount=type=%s: %w", mount.Type, err))
		}
	}
	if bundle := st.stage.CABundle; bundle != "" && st.stage.Isolation != IsolationChroot && !hasVariable(e.Env, caVariable) {
		m.what.Env = append(m.what.Env, caVariable+"="+caPath)
		m.what.Binds = append(m.what.Binds, sandbox.Bind{Source: bundle, Target: caPath, ReadOnly: true})
	}
	return m.what, m.release, nil
}

// caVariable names further authorities to node, which is how a machine behind a
// proxy of its own reaches the npm registry. It is in no key and in no image.
const caVariable = "NODE_EXTRA_CA_CERTS"

func hasVariable(env []string, name string) bool {
	return slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
}

// stepEnv is what the Dockerfile says, this machine's proxies where it says nothing
// of them, and a home.
func (st *step) stepEnv(e plan.RunExec, home string) []string {
	env := slices.Clone(e.Env)
	for _, kv := range slices.Concat(e.ProxyEnv, st.stage.Proxies, []string{"HOME=" + home}) {
		if name, _, _ := strings.Cut(kv, "="); !hasVariable(env, name) {
			env = append(env, kv)
		}
	}
	return env
}

// mounter collects the mounts of a RUN.
type mounter struct {
	step     *step
	what     sandbox.Step
	releases []func()
}

func (m *mounter) release() {
	for _, f := range m.releases {
		f()
	}
}

func (m *mounter) add(ctx context.Context, mount plan.RunMount) error {
	if err := checkMountPoint(mount.Target); err != nil {
		return err
	}
	switch mount.Type {
	case plan.RunMountBind:
		return m.bind(ctx, mount)
	case plan.RunMountCache:
		return m.cache(ctx, mount)
	case plan.RunMountSecret:
		return m.secret(mount)
	case plan.RunMountSSH:
		return m.ssh(mount)
	case plan.RunMountTmpfs:
		m.what.Tmpfs = append(m.what.Tmpfs, sandbox.TmpfsMount{Target: mount.Target, Size: mount.SizeLimit})
		return nil
	}
	return fmt.Errorf("unknown type %q", mount.Type)
}

// checkMountPoint refuses places that the sandbox has of its own.
func checkMountPoint(target string) error {
	for _, own := range []string{"/proc", "/dev", "/sys", "/etc/resolv.conf", "/etc/hosts"} {
		inside := strings.HasPrefix(target, own+"/") && !strings.HasPrefix(target, "/dev/shm")
		if target == own || inside {
			return fmt.Errorf("target %s: the sandbox has its own %s", target, own)
		}
	}
	return nil
}

// inline shows the here-documents of a RUN, which may be executed.
func (m *mounter) inline(files []plan.InlineFile) error {
	if len(files) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp(m.step.stage.dir, "inline-")
	if err != nil {
		return err
	}
	for i, f := range files {
		name := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(name, f.Data, 0o600); err != nil {
			return err
		}
		if err := os.Chmod(name, 0o555); err != nil { // whatever the umask
			return err
		}
		m.what.Binds = append(m.what.Binds, sandbox.Bind{Source: name, Target: f.Name, ReadOnly: true})
	}
	return nil
}

// bind shows files of the context, a stage or an image. What is written there is
// gone afterwards.
func (m *mounter) bind(ctx context.Context, mount plan.RunMount) error {
	lower, err := m.step.lowerOf(ctx, mount.From, mount.Source)
	if err != nil {
		return err
	}
	m.what.Trees = append(m.what.Trees, sandbox.TreeMount{
		Lower: lower, Source: path.Join("/", mount.Source), Target: mount.Target, ReadOnly: mount.ReadOnly,
	})
	return nil
}

// lowerOf is the directories that make up what a mount is from.
func (st *step) lowerOf(ctx context.Context, from plan.CopySource, name string) ([]string, error) {
	x := st.stage.executor
	switch from.Kind {
	case plan.SourceStage:
		s := st.stage.stages[from.Stage]
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.lower(ctx, len(s.steps)-1)
	case plan.SourceImage:
		base, err := st.stage.baseFor(ctx, from.Image, st.stage.plan.Platform)
		if err != nil {
			return nil, err
		}
		root, err := x.unpack(ctx, x.filesOf(base))
		if err != nil {
			return nil, err
		}
		return root.Layers, nil
	}
	if from.Kind == plan.SourceScratch {
		return nil, nil
	}
	return x.contextDir(ctx, name)
}

// contextDir makes a directory of what the context has under a name, without what
// is ignored.
func (x *executor) contextDir(ctx context.Context, name string) ([]string, error) {
	entries, err := x.selection(ctx, name)
	if err != nil {
		return nil, err
	}
	sum, err := x.contentKey(ctx, entries)
	if err != nil {
		return nil, err
	}
	store, err := x.store()
	if err != nil {
		return nil, err
	}
	key := cache.Key(keySchema, "context", sum)
	kept, ok := store.Step(key)
	if !ok {
		if kept, err = store.Write(ctx, key, entries, func(string) uint32 { return 0o755 }); err != nil {
			return nil, err
		}
	}
	x.atEnd(kept.Close)
	return []string{kept.Dir}, nil
}

// selection is the part of the context below a name, at its place.
func (x *executor) selection(ctx context.Context, name string) ([]layer.Entry, error) {
	clean := strings.TrimPrefix(path.Join("/", name), "/")
	if clean == "" {
		return x.files.Entries("/"), nil
	}
	return filetree.New().Copy(ctx, filetree.CopySpec{
		From: x.files, Sources: []string{"/./" + clean}, Dest: "/", Parents: true, ResetOwner: true,
	})
}

// cache shows a directory that survives the build.
func (m *mounter) cache(ctx context.Context, mount plan.RunMount) error {
	x := m.step.stage.executor
	mode := os.FileMode(0o755)
	if mount.Mode != nil {
		mode = os.FileMode(*mount.Mode & 0o777)
	}
	fill := func(dir string) error {
		if err := m.fill(ctx, dir, mount); err != nil {
			return err
		}
		return os.Chmod(dir, mode|0o700)
	}
	var dir string
	var err error
	if x.cache == nil {
		if dir, err = os.MkdirTemp(x.dir, "mount-"); err == nil {
			err = fill(dir)
		}
	} else {
		var release func()
		dir, release, err = x.cache.MountDir(ctx, mount.ID, cache.Sharing(mount.Sharing), fill)
		if err == nil {
			m.releases = append(m.releases, release)
		}
	}
	if err != nil {
		return err
	}
	m.what.Binds = append(m.what.Binds, sandbox.Bind{Source: dir, Target: mount.Target, ReadOnly: mount.ReadOnly})
	return nil
}

// fill writes what a new cache directory begins with.
func (m *mounter) fill(ctx context.Context, dir string, mount plan.RunMount) error {
	if mount.From.Kind == plan.SourceContext {
		return nil
	}
	from, err := m.step.sourceTree(ctx, mount.From)
	if err != nil {
		return err
	}
	entries, err := filetree.New().Copy(ctx, filetree.CopySpec{From: from.tree, Sources: []string{mount.Source}, Dest: "/"})
	if err != nil {
		return err
	}
	if err := m.step.stage.fetch(ctx, from.base, entries); err != nil {
		return err
	}
	return writeTree(ctx, dir, entries)
}

func (m *mounter) secret(mount plan.RunMount) error {
	secrets := m.step.stage.Secrets
	i := slices.IndexFunc(secrets, func(s Secret) bool { return s.ID == mount.ID })
	switch {
	case i < 0 && mount.Required:
		return &MissingSecretError{ID: mount.ID}
	case i < 0:
		return nil
	}
	if mount.Env != "" {
		m.what.Env = append(m.what.Env, mount.Env+"="+string(secrets[i].Data))
	}
	if mount.Target == "" {
		return nil
	}
	s := sandbox.Secret{Target: mount.Target, Data: secrets[i].Data, Mode: 0o400}
	if mount.Mode != nil {
		s.Mode = *mount.Mode
	}
	if mount.UID != nil {
		s.UID = int(*mount.UID)
	}
	if mount.GID != nil {
		s.GID = int(*mount.GID)
	}
	m.what.Secrets = append(m.what.Secrets, s)
	return nil
}

func (m *mounter) ssh(mount plan.RunMount) error {
	socket, ok := m.step.stage.SSH[mount.ID]
	switch {
	case !ok && mount.Required:
		return &MissingSecretError{ID: mount.ID, SSH: true}
	case !ok:
		return nil
	}
	if mount.Env != "" {
		m.what.Env = append(m.what.Env, mount.Env+"="+mount.Target)
	}
	m.what.Binds = append(m.what.Binds, sandbox.Bind{Source: socket, Target: mount.Target})
	return nil
}

// MissingSecretError is a secret or agent that a RUN requires and nobody gave.
type MissingSecretError struct {
	ID  string
	SSH bool
}

func (e *MissingSecretError) Error() string {
	if e.SSH {
		return fmt.Sprintf("no ssh agent %q", e.ID)
	}
	return fmt.Sprintf("no secret %q", e.ID)
}

// Hint says how to give it.
func (e *MissingSecretError) Hint() string {
	if e.SSH {
		return "give it with --ssh " + e.ID
	}
	return "give it with --secret id=" + e.ID + ",src=FILE"
}
