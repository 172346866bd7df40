//go:build amd64 || arm64

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxFileBind bounds a bound file where it must be copied.
const maxFileBind = 16 << 20

// stepSpec is what process 1 is told of a step.
func (s *Sandbox) stepSpec(step Step) (spec, error) {
	j := spec{
		Job: jobRun, Args: step.Args, Env: step.Env, Dir: step.Dir,
		UID: step.UID, GID: step.GID,
		Binds: step.Binds, Tmpfs: step.Tmpfs, Trees: treesOf(step.Trees),
		OwnNetwork: step.NoNetwork, Forwarding: len(step.Forward) > 0, Limits: step.Limits,
	}
	if j.Dir == "" {
		j.Dir = "/"
	}
	if j.Limits.Processes <= 0 {
		j.Limits.Processes = defaultProcesses
	}
	var err error
	if j.Files, err = s.files(step); err != nil {
		return j, err
	}
	if s.cfg.Isolation != Chroot {
		return j, nil
	}
	if len(step.Trees) > 0 {
		return j, &RefusedError{
			Stage:  StageMount,
			Cause:  fmt.Sprintf("nothing can be shown at %s without mounts", step.Trees[0].Target),
			Remedy: "use an isolation with mounts (--isolation auto)",
		}
	}
	j.Binds = nil
	for _, b := range step.Binds {
		f, err := copied(b)
		if err != nil {
			return j, err
		}
		j.Files = append(j.Files, f)
	}
	return j, nil
}

// files are our own: resolv.conf, hosts, and the secrets.
func (s *Sandbox) files(step Step) ([]file, error) {
	resolv, hosts := s.cfg.ResolvConf, s.cfg.Hosts
	if resolv == nil && !step.NoNetwork {
		var err error
		resolv, err = readBounded("/etc/resolv.conf", maxResolvConf)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("reading the host's name servers: %w", err)
		}
	}
	if hosts == nil {
		hosts = []byte("127.0.0.1 localhost " + s.cfg.Hostname + "\n::1 localhost " +
			s.cfg.Hostname + "\n")
	}
	files := []file{
		{Target: "/etc/resolv.conf", Data: resolv, Mode: 0o644},
		{Target: "/etc/hosts", Data: hosts, Mode: 0o644},
	}
	if (s.cfg.Owners == FakeOwners || s.cfg.Owners == RecordOwners) && step.UID == 0 {
		// apt checks that its change of user took effect.
		files = append(files, file{
			Target: "/etc/apt/apt.conf.d/00sandbox", Below: "/etc/apt/apt.conf.d",
			Data: []byte("APT::Sandbox::User \"root\";\n"), Mode: 0o644,
		})
	}
	for _, x := range step.Secrets {
		f := file{Target: x.Target, Data: x.Data, Mode: x.Mode, ReadOnly: true,
			UID: x.UID, GID: x.GID}
		if f.Mode == 0 {
			f.Mode = 0o400
		}
		files = append(files, f)
	}
	return files, nil
}

// copied is a bind as a file, for the rungs that cannot mount.
func copied(b Bind) (file, error) {
	info, err := os.Stat(b.Source)
	if err != nil {
		return file{}, fmt.Errorf("binding %s: %w", b.Source, err)
	}
	if !info.Mode().IsRegular() || !b.ReadOnly {
		return file{}, &RefusedError{
			Stage:  StageMount,
			Cause:  fmt.Sprintf("%s cannot be shown at %s without mounts", b.Source, b.Target),
			Remedy: "use an isolation with mounts (--isolation auto)",
		}
	}
	data, err := readBounded(b.Source, maxFileBind)
	if err != nil {
		return file{}, fmt.Errorf("copying %s: %w", b.Source, err)
	}
	return file{Target: b.Target, Data: data, Mode: uint32(info.Mode().Perm()), ReadOnly: true}, nil
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}

// complete fills in what every job needs, and makes a fresh work directory: an
// overlay that is mounted with "volatile" does not take a used one.
func (s *Sandbox) complete(ctx context.Context, j *spec) error {
	j.Rung, j.Owners, j.Hostname = s.rung, s.cfg.Owners, s.cfg.Hostname
	j.Upper, j.Stage = s.upper(), filepath.Join(s.dir, "stage")
	j.Work = filepath.Join(s.dir, "work")
	if j.Limits.Processes == 0 {
		j.Limits.Processes = defaultProcesses
	}
	j.Lower = s.cfg.Lower
	if len(j.Lower) == 0 {
		j.Lower = []string{filepath.Join(s.dir, "empty")}
	}
	if err := s.plantTrees(ctx, j.Trees); err != nil {
		return err
	}
	if s.rung != overlayRung {
		return nil
	}
	if err := s.remove(j.Work); err != nil {
		return fmt.Errorf("making a work directory: %w", err)
	}
	return os.Mkdir(j.Work, 0o700)
}
