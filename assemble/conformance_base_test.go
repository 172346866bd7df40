package assemble_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// applets are busybox' commands in the bases.
const applets = "[ adduser cat chgrp chmod chown cp cut date dd echo env expr false find grep " +
	"head hostname id ln ls mkdir mkfifo mknod mktemp mount mv nproc od printf ps pwd readlink " +
	"realpath rm rmdir sed seq sh sha256sum sleep sort stat tail tar test touch tr true umount " +
	"uname wc whoami xargs"

const basePath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// baseFiles are the files of the lower layer, beside the programs: mode, owner,
// kind, path, content or target, as in golden trees.
const baseFiles = `
1777 0:0 dir tmp
0700 0:0 dir root
0755 0:0 dir proc
0755 0:0 dir sys
0755 0:0 dir dev
0755 0:0 dir run
0755 0:0 dir var
0755 0:0 dir etc
0755 0:0 dir usr
0755 0:0 dir usr/sbin
0755 0:0 dir usr/lib
0755 0:0 dir srv
0755 0:0 dir home
0750 1000:1000 dir home/app
0777 0:0 link bin usr/bin
0777 0:0 link sbin usr/sbin
0777 0:0 link lib usr/lib
0777 0:0 link var/run /run
0644 0:0 file etc/passwd root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nweb:x:101:102:web:/srv:/bin/sh\n
0644 0:0 file etc/group root:x:0:\nstaff:x:50:app\napp:x:1000:\nweb:x:102:\n
0644 0:0 file etc/hosts 127.0.0.1 localhost\n
0644 0:0 file etc/resolv.conf
0644 0:0 file etc/hostname
`

// playground is the upper layer: things for Dockerfiles to trip over.
const playground = `
0755 0:0 dir srv
0755 0:0 dir home
0750 1000:1000 dir home/app
0750 101:102 dir srv/data
0640 101:102 file srv/data/keep kept\n
0755 0:0 dir srv/full
0644 0:0 file srv/full/a a\n
0644 0:0 file srv/full/b b\n
0755 0:0 dir srv/full/sub
0644 0:0 file srv/full/sub/c c\n
0644 0:0 file srv/file file\n
0777 0:0 link srv/link data
0777 0:0 link srv/abs /srv/data
0777 0:0 link srv/up ../../../srv/data
0777 0:0 link srv/out ../../../../etc/passwd
0777 0:0 link srv/dangling missing/dir
0777 0:0 link srv/loop loop
0777 0:0 link srv/filelink file
0644 0:0 file srv/hard1 hard\n
0644 0:0 hard srv/hard2 srv/hard1
4755 0:0 file srv/setuid #!/bin/sh\n
2755 0:50 file srv/setgid #!/bin/sh\n
3777 0:50 dir srv/shared
0600 1000:1000 file home/app/private mine\n
`

// netBindService is the attribute of a program that may listen on port 80.
const netBindService = "\x01\x00\x00\x02\x00\x04" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// implied is a layer that has a file without its directory.
const implied = `
0644 1000:1000 file home/app/extra extra\n
`

// conformanceBases makes the images that the suite's Dockerfiles start from. But for
// one file they have the same files; they differ in their configuration.
func conformanceBases(t *testing.T) map[string]v1.Image {
	t.Helper()
	busybox := filepath.Join(os.Getenv(plainEnv), "busybox")
	if os.Getenv(plainEnv) == "" {
		busybox = needed[string](t)(openBed(t).Busybox(t.Context()))
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	lower := []tarFile{{tar.Header{Typeflag: tar.TypeDir, Name: "usr/bin/", Mode: 0o755}, nil},
		{tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/busybox", Mode: 0o755}, program}}
	for _, applet := range strings.Fields(applets) {
		lower = append(lower, tarFile{tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/" + applet,
			Linkname: "busybox", Mode: 0o777}, nil})
	}
	var layers [][]tarFile
	for _, list := range []string{baseFiles, playground, implied} {
		files, err := parseFiles(list)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, files)
	}
	layers[0] = append(layers[0], lower...)
	layers[1] = append(layers[1], tarFile{tar.Header{Typeflag: tar.TypeReg, Name: "srv/cap",
		Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": netBindService}}, nil})
	bases := map[string]v1.Image{}
	for name, config := range baseConfigs() {
		of := layers
		if name != "implied" {
			of = layers[:2]
		}
		img, err := baseImage(config, of)
		if err != nil {
			t.Fatal(err)
		}
		bases[name] = img
	}
	return bases
}

func baseConfigs() map[string]v1.Config {
	return map[string]v1.Config{
		"base": {Env: []string{basePath}, Cmd: []string{"sh"}},
		"base2": {
			Env: []string{basePath, "GREETING=hello", "EMPTY="}, Entrypoint: []string{"/entry", "-x"},
			Cmd: []string{"serve"}, WorkingDir: "/srv/data", User: "web", StopSignal: "SIGQUIT",
			Labels:       map[string]string{"from": "base2", "kept": "yes"},
			ExposedPorts: map[string]struct{}{"80/tcp": {}}, Volumes: map[string]struct{}{"/srv/shared": {}},
			Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "true"}},
		},
		"onbuild": {Env: []string{basePath}, Cmd: []string{"sh"}, WorkingDir: "/app",
			OnBuild: []string{"ARG WHO=nobody", "COPY . /app/src",
				"RUN echo built for $WHO > /app/who"}},
		"implied": {Env: []string{basePath}, Cmd: []string{"sh"}},
		"shell":   {Env: []string{basePath}, Shell: []string{"/bin/sh", "-e", "-c"}},
	}
}

type tarFile struct {
	header  tar.Header
	content []byte
}

func parseFiles(list string) ([]tarFile, error) {
	var files []tarFile
	for line := range strings.Lines(strings.TrimSpace(list)) {
		var h tar.Header
		var kind string
		if _, err := fmt.Sscanf(line, "%o %d:%d %s %s", &h.Mode, &h.Uid, &h.Gid, &kind, &h.Name); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		_, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " "+h.Name)
		rest = strings.ReplaceAll(strings.TrimPrefix(rest, " "), `\n`, "\n")
		f := tarFile{header: h}
		switch kind {
		case "dir":
			f.header.Typeflag, f.header.Name = tar.TypeDir, h.Name+"/"
		case "link":
			f.header.Typeflag, f.header.Linkname = tar.TypeSymlink, rest
		case "hard":
			f.header.Typeflag, f.header.Linkname = tar.TypeLink, rest
		case "file":
			f.header.Typeflag, f.content = tar.TypeReg, []byte(rest)
		}
		files = append(files, f)
	}
	return files, nil
}

func baseImage(config v1.Config, layers [][]tarFile) (v1.Image, error) {
	img := empty.Image // of Docker's media types: OCI's would lose the health check in buildah
	for _, files := range layers {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for _, f := range files {
			f.header.Size = int64(len(f.content))
			if err := w.WriteHeader(&f.header); err != nil {
				return nil, err
			}
			if _, err := w.Write(f.content); err != nil {
				return nil, err
			}
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(buf.Bytes())), nil
		})
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	return mutate.ConfigFile(img, file)
}

// baseTree is the tree of a base, by its name.
func baseTree(t *testing.T, bases map[string]v1.Image, name string) map[string]string {
	t.Helper()
	tree := &builtImage{root: newRoot()}
	if name == "scratch" {
		return tree.lines()
	}
	layers, err := bases[name].Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.add(data); err != nil {
			t.Fatalf("base %s: %v", name, err)
		}
	}
	return tree.lines()
}
