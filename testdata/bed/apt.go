package bed

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// listsAge is how long downloaded package lists are used.
const listsAge = 24 * time.Hour

// aptConf makes apt-get work below one directory, as any user, for an
// architecture that need not be this machine's. It is read after the system's own
// configuration (which may hold a proxy), and takes back what would run commands
// or write elsewhere. The empty status file makes the closure of a package whole:
// nothing counts as installed. %[1]s is the directory, %[2]s the architecture.
const aptConf = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
APT::Architecture "%[2]s";
APT::Architectures { "%[2]s"; };
APT::Sandbox::User "";
APT::Keep-Downloaded-Packages "true";
Binary::apt-get::APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
Dir::State "%[1]s";
Dir::State::Lists "%[1]s/lists";
Dir::State::status "%[1]s/status";
Dir::State::extended_states "%[1]s/extended_states";
Dir::Cache "%[1]s/cache";
Dir::Etc::sourcelist "%[1]s/debian.sources";
Dir::Etc::sourceparts "%[1]s/none";
`

// debs downloads packages of one architecture, verified by apt, into dir and
// returns their files. With closure the packages that they depend on come too.
func (b *Bed) debs(ctx context.Context, arch, dir string, closure bool, packages ...string) (
	files []string, err error) {
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, &MissingError{What: program,
				Fix: "the test bed runs on Debian or in a Debian container"}
		}
	}
	unlock, err := b.lock(ctx, "apt-"+arch)
	if err != nil {
		return nil, err
	}
	defer unlock()
	state := filepath.Join(b.dir, "apt-"+arch)
	if err := prepareApt(state, arch); err != nil {
		return nil, fmt.Errorf("preparing apt for %s: %w", arch, err)
	}
	updated := false
	stamp := filepath.Join(state, "updated")
	if info, err := os.Stat(stamp); err != nil || time.Since(info.ModTime()) > listsAge {
		if err := b.updateLists(ctx, state, stamp); err != nil {
			return nil, err
		}
		updated = true
	}
	b.log(fmt.Sprintf("downloading %s (%s) from Debian", strings.Join(packages, " "), arch))
	err = fetchDebs(ctx, state, dir, closure, packages)
	if err != nil && !updated && ctx.Err() == nil {
		// A security update replaces the file that an older list names.
		if err := b.updateLists(ctx, state, stamp); err != nil {
			return nil, err
		}
		err = fetchDebs(ctx, state, dir, closure, packages)
	}
	if err != nil {
		return nil, fmt.Errorf("downloading %s for %s: %w", strings.Join(packages, " "), arch, err)
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}

func (b *Bed) updateLists(ctx context.Context, state, stamp string) error {
	b.log("updating the lists of Debian's packages")
	if err := aptGet(ctx, state, "", "update", "-q", "--error-on=any"); err != nil {
		return fmt.Errorf("updating the lists of Debian's packages: %w", err)
	}
	return os.WriteFile(stamp, nil, 0o644)
}

// prepareApt writes apt's private configuration.
func prepareApt(state, arch string) error {
	sources, err := debianSources("/etc/apt")
	if err != nil {
		return err
	}
	if len(sources) == 0 {
		return &MissingError{What: "an apt source of Debian's packages",
			Fix: "add Debian's main component to /etc/apt/sources.list.d"}
	}
	for _, dir := range []string{"lists/partial", "cache/archives/partial", "none"} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o755); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{
		"status":         "",
		"debian.sources": sourcesFile(sources, arch),
		"apt.conf":       fmt.Sprintf(aptConf, state, arch),
	} {
		if err := os.WriteFile(filepath.Join(state, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func fetchDebs(ctx context.Context, state, dir string, closure bool, packages []string) error {
	if !closure {
		return aptGet(ctx, state, dir, append([]string{"download", "-q"}, packages...)...)
	}
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return err
	}
	return aptGet(ctx, state, dir, append([]string{"install", "-q", "-y", "--download-only",
		"--no-install-recommends", "-o", "Dir::Cache::archives=" + dir}, packages...)...)
}

// aptGet runs apt-get with the private configuration of state in directory dir.
func aptGet(ctx context.Context, state, dir string, args ...string) error {
	args = append([]string{"-c", filepath.Join(state, "apt.conf")}, args...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	return run(cmd)
}

// run runs a command; the end of what it printed becomes part of the error.
func run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, text[max(0, len(text)-2000):])
	}
	return nil
}
