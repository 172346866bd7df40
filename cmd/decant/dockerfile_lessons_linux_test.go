package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/decant-build/decant/registry/registrytest"
)

// maxBuildMemory is what a build may take however large its layers are.
const maxBuildMemory = 150 << 20

// aloneEnv says that a test has a process of its own: what a process took before it
// became decant would count.
const aloneEnv = "DECANT_TEST_ALONE"

// TestLayersNeverPassThroughMemory has a layer that is larger than the memory that a
// build may take be written, unpacked, indexed, and sent.
func TestLayersNeverPassThroughMemory(t *testing.T) {
	if os.Getenv(aloneEnv) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprintf("-test.short=%t", testing.Short()))
		cmd.Env = append(os.Environ(), aloneEnv+"=1")
		out, err := cmd.CombinedOutput()
		switch {
		case err != nil:
			t.Errorf("%v\n%s", err, out)
		case bytes.Contains(out, []byte("--- SKIP")):
			t.Skip(string(out))
		}
		return
	}
	w := newHub(t, false)
	u := w.users[len(w.users)-1]
	u.write(t, "ctx/big", "")
	big, err := os.Create(filepath.Join(u.home, "ctx/big"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.CopyN(big, rand.NewChaCha8([32]byte{}), 300_000_000)
	if err := errors.Join(err, big.Close()); err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{
		"FROM nginx\nCOPY big /big\n",
		"FROM large\nRUN mv /big /moved\n",
		"FROM large\nCOPY --chown=nginx Dockerfile /etc/nginx/\n",
		"FROM large AS a\nFROM nginx\nCOPY --from=a --chown=nginx /big /big\n",
	} {
		u.write(t, "ctx/Dockerfile", text)
		cache := filepath.Join(u.home, fmt.Sprintf("cache%d", i))
		cmd := exec.CommandContext(t.Context(), filepath.Join(u.bin, "decant"), "build", "ctx", "--platform", "linux/amd64",
			"--mirror", "docker.io="+w.host, "-t", w.host+[]string{"/library/large", "/moved", "/indexed", "/taken"}[i])
		cmd.Dir, cmd.SysProcAttr = u.home, u.attr
		cmd.Env = []string{"HOME=" + u.home, "PATH=/usr/bin:/bin", "TMPDIR=" + u.home, "DECANT_CACHE_DIR=" + cache}
		command(t, cmd)
		used := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
		if t.Logf("%q: %d MiB of memory", text, used>>20); used > maxBuildMemory {
			t.Errorf("want at most %d", maxBuildMemory>>20)
		}
		if err := os.RemoveAll(cache); err != nil {
			t.Fatal(err)
		}
	}
}

// hush is in everything that a RUN must not see.
const hush = "hush-hush"

// jobEnv is what jobs of CI have in their environment.
var jobEnv = []string{"CI=true", "CI_JOB_TOKEN=" + hush, "CI_REGISTRY_PASSWORD=" + hush, "GITHUB_TOKEN=" + hush, "NPM_TOKEN=" + hush,
	"ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + hush, "AWS_SECRET_ACCESS_KEY=" + hush, "SSH_AUTH_SOCK=/" + hush}

// TestRunsSeeNothingOfTheJob pulls the base with a password, and looks for it and for
// the job's tokens wherever a RUN can look.
func TestRunsSeeNothingOfTheJob(t *testing.T) {
	b := openBed(t)
	registry := registrytest.New(t, registrytest.Options{User: "u", Password: hush})
	index, err := layout.ImageIndexFromPath(needed[string](t)(b.Nginx(t.Context())))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(registry.Host+"/base:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	base, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	img, err := index.ImageIndex(base.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, img, remote.WithAuth(&authn.Basic{Username: "u", Password: hush})); err != nil {
		t.Fatal(err)
	}
	bin := buildDecant(t)
	openPath(t, bin)
	w := &hubWorld{host: registry.Host}
	auth := base64.StdEncoding.EncodeToString([]byte("u:" + hush))
	for _, u := range users(t, bin) {
		for _, isolation := range []string{"auto", "chroot"} {
			config := filepath.Join(u.home, ".docker", "config.json")
			auths := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, registry.Host, auth)
			u.write(t, ".docker/config.json", auths)
			u.write(t, "ctx/Dockerfile", "FROM "+ref.String()+"\nARG CONFIG\nRUN ! cat $CONFIG; ls -a / /root > /seen; env >> /seen; set >> /seen; "+
				"cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline >> /seen 2>/dev/null; true\n")
			got := w.build(t, u, append([]string{"DOCKER_AUTH_CONFIG=" + auths, "DOCKER_CONFIG=" + filepath.Dir(config)}, jobEnv...),
				"ctx", "-o", "oci:"+isolation, "--isolation", isolation, "--build-arg", "CONFIG="+config)
			if got.code != 0 {
				t.Fatal(got.stderr)
			}
			seen := topLayer(t, filepath.Join(u.home, isolation))["seen"]
			all := everyByte(t, filepath.Join(u.home, isolation))
			if !strings.Contains(seen, "PATH=") || bytes.Contains(all, []byte(hush)) || bytes.Contains(all, []byte(auth)) {
				t.Errorf("%s, %s: a RUN sees %s", u.name, isolation, seen)
			}
			if strings.Contains(got.stderr, hush) || strings.Contains(got.stderr, auth) {
				t.Errorf("%s, %s: a secret is told: %s", u.name, isolation, got.stderr)
			}
		}
	}
}

// lessonRuns are executed as runCases are.
var lessonRuns = []runCase{
	{name: "reaps what its commands leave behind", layer: map[string]string{"x": "0644 0:0 ok\n"}, args: []string{"--timeout", "1m"},
		dockerfile: "FROM nginx\nRUN for i in 1 2 3 4 5 6 7 8 9; do (sh -c 'true & true & true &' &); done; " +
			"while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do sleep 0.1; done; echo ok > /x\n"},
	{name: "leaves a daemon that holds on to its output", layer: map[string]string{"x": "0644 0:0 ok\n"}, args: []string{"--timeout", "1m"},
		dockerfile: "FROM nginx\nRUN busybox setsid sh -c \"trap '' HUP TERM INT; echo up; while true; do sleep 54325; done\" & echo ok > /x\n"},
	{name: "leaves a daemon in a bare chroot", layer: map[string]string{"x": "0644 0:0 ok\n"},
		args:       []string{"--isolation", "chroot", "--timeout", "1m"},
		dockerfile: "FROM nginx\nRUN busybox setsid sh -c \"trap '' HUP TERM INT; while true; do sleep 54325; done\" & echo ok > /x\n"},
	{name: "has no mounts in a bare chroot", args: []string{"--isolation", "chroot"}, files: map[string]string{"f": "f\n"},
		dockerfile: "FROM nginx AS a\nRUN echo a > /a && rm -r /etc/nginx\nFROM a\nCOPY f /f\nRUN test ! -e /etc/nginx && cat /a /f > /x\n",
		layer:      map[string]string{"x": "0644 0:0 a\nf\n"}},
	{name: "has a pipe for users", code: 1, stderr: []string{"error: Dockerfile:4: ", "/etc/passwd"}, args: []string{"--timeout", "1m"},
		dockerfile: "FROM nginx\nRUN rm /etc/passwd && busybox mkfifo /etc/passwd\nUSER nginx\nRUN true\n"},
	{name: "has a pipe for owners", code: 1, stderr: []string{"error: Dockerfile:3: ", "/etc/passwd"}, args: []string{"--timeout", "1m"},
		dockerfile: "FROM nginx\nRUN rm /etc/passwd && busybox mkfifo /etc/passwd\nCOPY --chown=nginx f /\n", files: map[string]string{"f": "f\n"}},
	{name: "puts a link in place of a directory", layer: map[string]string{"etc/nginx": "0777 0:0 ", "etc/nginx/.wh.nginx.conf": "", "etc/.wh.nginx": ""},
		dockerfile: "FROM nginx\nRUN rm -r /etc/nginx && ln -s usr /etc/nginx\n"},
	{name: "puts a directory in place of a link", layer: map[string]string{"l/": "0755 0:0 ", "l/f": "0644 0:0 f\n"},
		dockerfile: "FROM nginx\nRUN ln -s usr /l\nRUN rm /l && mkdir /l && echo f > /l/f\n"},
}

// TestRunsAreHeldAsElsewhereTheyAreNot executes what leaves zombies, hangs, or makes
// layers that cannot be loaded elsewhere.
func TestRunsAreHeldAsElsewhereTheyAreNot(t *testing.T) {
	w := newHub(t, false)
	for _, u := range w.users {
		for i, c := range lessonRuns {
			t.Run(u.name+"/"+c.name, func(t *testing.T) { w.runCase(t, u, c, fmt.Sprintf("lesson%d", i)) })
		}
	}
	if out, err := exec.Command("pgrep", "-f", "sleep 54325").Output(); err == nil {
		t.Errorf("a process is left: %s", out)
	}
}

// TestCopyNeedsNoNamespace builds where no namespace can be made: what executes nothing
// works, and a RUN is told what forbids it.
func TestCopyNeedsNoNamespace(t *testing.T) {
	w := newHub(t, false)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		missing(t, "unshare is not installed")
	}
	u := w.users[len(w.users)-1]
	u.write(t, "ctx/f", "f\n")
	u.write(t, "ctx/Dockerfile", "FROM nginx AS a\nFROM nginx\nWORKDIR /srv\nCOPY --chown=nginx f .\nCOPY --from=a /etc/nginx /srv\n")
	u.write(t, "ctx/Dockerfile.run", "FROM nginx\nRUN true\n")
	build := func(args string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), unshare, "--user", "--map-root-user", "sh", "-c",
			"echo 0 > /proc/sys/user/max_user_namespaces && exec "+filepath.Join(u.bin, "decant")+
				" build ctx --mirror docker.io="+w.host+" "+args)
		cmd.Dir, cmd.SysProcAttr = u.home, u.attr
		cmd.Env = []string{"HOME=" + u.home, "PATH=/usr/bin:/bin", "TMPDIR=" + u.home}
		return cmd.CombinedOutput()
	}
	if out, err := build("-t " + w.host + "/copied:1"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	out, err := build("-f Dockerfile.run -o oci:out")
	if err == nil || !strings.Contains(string(out), "max_user_namespaces") || !strings.Contains(string(out), "decant: hint: ") {
		t.Errorf("%v: %s", err, out)
	}
}
