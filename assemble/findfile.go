package assemble

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/plan"
)

// defaultDockerfile is looked for where none is named.
const defaultDockerfile = "Dockerfile"

// maxDockerfile is more than package plan takes, which says so by line.
const maxDockerfile = 16 << 20

// findDockerfile reads the Dockerfile that was named, or the directory's own.
func (b *build) findDockerfile() (in input, found bool, err error) {
	if b.DockerfileText != nil {
		return b.parseDockerfile("", "standard input", "--file -", b.DockerfileText)
	}
	name, why := b.Dockerfile, "--file"
	if name == "" {
		name, why = filepath.Join(b.Dir, defaultDockerfile), "it has a Dockerfile"
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			// As docker.
			name = filepath.Join(b.Dir, strings.ToLower(defaultDockerfile))
		}
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return input{}, false, b.checkNoDockerfile()
		}
		if err := b.checkInside(name); err != nil {
			return input{}, false, err
		}
	} else if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(name) {
		// As docker: from here, or else in the context.
		if inside := filepath.Join(b.Dir, name); exists(inside) {
			name = inside
		}
	}
	text, err := readDockerfile(name, b.Dockerfile != "")
	if err != nil {
		return input{}, false, err
	}
	return b.parseDockerfile(name, fromHere(name), why, text)
}

// checkInside refuses a Dockerfile that leads out of the directory, whose author would
// have a file of this machine read, and its lines told.
func (b *build) checkInside(name string) error {
	dir, err := realPath(b.Dir)
	if err != nil {
		return err
	}
	if real, err := realPath(name); err != nil || !isInside(dir, real) {
		return &InputError{Dir: name, What: "it is a link that leads out of the directory", Fix: "name the file that is meant with --file"}
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// checkNoDockerfile refuses options that mean nothing without one.
func (b *build) checkNoDockerfile() error {
	fix := "name the Dockerfile with --file"
	switch {
	case b.Target != "":
		return usagef(fix, "target %s: %s has no Dockerfile", b.Target, b.Dir)
	case len(b.BuildArgs) > 0:
		return usagef(fix, "build arguments: %s has no Dockerfile", b.Dir)
	case len(b.SSH) > 0:
		return usagef(fix, "ssh agents: %s has no Dockerfile", b.Dir)
	case len(b.filesOutputs()) > 0:
		return usagef(fix, "output %s takes the files of a Dockerfile's target, and %s has no Dockerfile", b.filesOutputs()[0], b.Dir)
	}
	return nil
}

// readDockerfile reads a file; one that is named may be a pipe, as shells make them.
func readDockerfile(name string, named bool) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &InputError{Dir: name, What: "no such file", Fix: "name the Dockerfile with --file"}
	case err != nil:
		return nil, &InputError{Dir: name, What: reason(err), Fix: "make it readable to this user"}
	case info.Mode()&fs.ModeNamedPipe != 0 && named:
	case !info.Mode().IsRegular(): // opening a fifo would wait for ever
		return nil, &InputError{Dir: name, What: "not a file", Fix: "name the Dockerfile with --file"}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, &InputError{Dir: name, What: reason(err), Fix: "make it readable to this user"}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDockerfile+1))
	if err == nil && len(text) > maxDockerfile {
		err = fmt.Errorf("larger than %d MiB", maxDockerfile>>20)
	}
	if err != nil {
		return nil, &InputError{Dir: name, What: reason(err), Fix: "is it a Dockerfile?"}
	}
	return text, nil
}

func (b *build) parseDockerfile(file, name, why string, text []byte) (in input, found bool, err error) {
	if b.Isolation == IsolationNone {
		return in, false, usagef("leave --isolation out", "--isolation none is for projects: a RUN executes in its image")
	}
	shown := filepath.Base(name)
	if file == "" {
		shown = defaultDockerfile
	}
	parsed, err := plan.ParseDockerfile(shown, text)
	if err != nil {
		return in, false, err
	}
	abs, err := filepath.Abs(b.Dir)
	return input{dockerfile: parsed, dockerfilePath: file, identity: abs, name: name, why: why}, true, err
}

// planPlatform is the one for which the plan is printed.
func (b *build) planPlatform() v1.Platform {
	if len(b.platforms.list) > 0 {
		return b.platforms.list[0]
	}
	return hostPlatform()
}

// planDockerfile prints the stages that the target needs.
func (b *build) planDockerfile() (string, error) {
	graph, err := b.input.dockerfile.Resolve(plan.ResolveOptions{
		Target: b.Target, BuildArgs: b.BuildArgs, BuildPlatform: hostPlatform(), TargetPlatform: b.planPlatform(),
	})
	if err != nil {
		return "", err
	}
	for _, w := range slices.Concat(b.input.dockerfile.Warnings(), graph.Warnings) {
		b.Progress.Warn(b.warningText(w))
	}
	return graph.Print(), nil
}
