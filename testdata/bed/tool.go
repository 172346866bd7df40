package bed

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// toolVersion is the version of how tools are unpacked, as nginxVersion is.
const toolVersion = "1"

// A Tool is a program that the bed has found or unpacked.
type Tool struct {
	name, path string
	root       string
}

// Path is the program's path: a program by itself, or a script that runs it with
// the libraries that came with it.
func (t *Tool) Path() string { return t.path }

// Root is the directory that the program's packages were unpacked to, and empty
// for a program that is installed.
func (t *Tool) Root() string { return t.root }

// Command returns a command that runs the program; its Path works by itself.
func (t *Tool) Command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, t.path, args...)
}

// A toolPackage says where Debian keeps a program.
type toolPackage struct {
	name, program string
	args          string // in the wrapper script, before the caller's
}

// toolPackages are the programs that the bed can unpack. The value of a program
// that only works when it is installed has no program.
func toolPackages() map[string]toolPackage {
	return map[string]toolPackage{
		"docker-registry": {name: "docker-registry", program: "usr/bin/docker-registry"},
		"nginx":           {name: "nginx-light", program: "usr/sbin/nginx"},
		"skopeo":          {name: "skopeo", program: "usr/bin/skopeo", args: `--policy "$here/policy.json"`},
		"umoci":           {name: "umoci", program: "usr/bin/umoci"},
		"buildah":         {name: "buildah"},
		"chromium":        {name: "chromium"},
	}
}

// Tool finds a program: docker-registry, skopeo, umoci, nginx, chromium or buildah.
// One that is not installed is unpacked, with all it depends on, from Debian's
// packages, and runs with its own libraries; but chromium and buildah must be
// installed, and the error is a *MissingError when they are not.
func (b *Bed) Tool(ctx context.Context, name string) (*Tool, error) {
	if _, ok := toolPackages()[name]; !ok {
		return nil, fmt.Errorf("finding the program %s: the bed does not know it", name)
	}
	if path, err := exec.LookPath(name); err == nil {
		return &Tool{name: name, path: path}, nil
	}
	// A plain user's PATH lacks the directories of servers.
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return &Tool{name: name, path: path}, nil
		}
	}
	return b.unpackedTool(ctx, name)
}

// unpackedTool is Tool for a program that is not installed.
func (b *Bed) unpackedTool(ctx context.Context, name string) (*Tool, error) {
	pkg := toolPackages()[name]
	if pkg.program == "" {
		return nil, &MissingError{What: "the program " + name, Fix: "apt-get install " + pkg.name}
	}
	dir, err := b.once(ctx, "tool-"+name+"-v"+toolVersion, func(dir string) error {
		return b.unpackTool(ctx, name, pkg, dir)
	})
	if err != nil {
		return nil, err
	}
	return &Tool{name: name, path: filepath.Join(dir, name), root: filepath.Join(dir, "root")}, nil
}

func (b *Bed) unpackTool(ctx context.Context, name string, pkg toolPackage, dir string) error {
	downloads, err := os.MkdirTemp(dir, "debs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(downloads)
	files, err := b.debs(ctx, runtime.GOARCH, downloads, true, pkg.name)
	if err != nil {
		return err
	}
	rootDir := filepath.Join(dir, "root")
	if err := os.Mkdir(rootDir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(rootDir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, file := range files {
		err := readDeb(ctx, file, func(r *tar.Reader) error { return applyTar(ctx, root, r) })
		if err != nil {
			return fmt.Errorf("unpacking %s: %w", filepath.Base(file), err)
		}
	}
	const policy = `{"default": [{"type": "insecureAcceptAnything"}]}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "policy.json"), []byte(policy), 0o644); err != nil {
		return err
	}
	script, err := wrapper(pkg, runtime.GOARCH)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755)
}

// wrapper returns the script that runs an unpacked program by the dynamic linker
// and with the libraries of its own tree, which may be newer or older than the
// system's.
func wrapper(pkg toolPackage, arch string) (string, error) {
	lib, linker, err := libraries(arch)
	if err != nil {
		return "", err
	}
	return strings.NewReplacer("@program@", pkg.program, "@args@", pkg.args, "@lib@", lib, "@linker@", linker).
		Replace(`#!/bin/sh
# Runs @program@ with the libraries that lie beside it.
here=$(cd "$(dirname "$0")" && pwd) || exit
root=$here/root
exec "$root/lib/@lib@/@linker@" --library-path "$root/lib/@lib@:$root/usr/lib/@lib@" \
    "$root/@program@" @args@ "$@"
`), nil
}

// libraries returns Debian's name for the directory of an architecture's
// libraries, and the name of the dynamic linker in it.
func libraries(arch string) (dir, linker string, err error) {
	switch arch {
	case "amd64":
		return "x86_64-linux-gnu", "ld-linux-x86-64.so.2", nil
	case "arm64":
		return "aarch64-linux-gnu", "ld-linux-aarch64.so.1", nil
	}
	return "", "", &MissingError{What: "a recipe for " + arch, Fix: "use a machine with amd64 or arm64"}
}
