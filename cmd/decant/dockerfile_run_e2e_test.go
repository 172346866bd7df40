package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// A runCase is a Dockerfile on the hub's nginx, which has a shell and busybox.
type runCase struct {
	name       string
	dockerfile string
	files      map[string]string // of the context
	args       []string
	env        []string
	code       int
	stderr     []string
	// layer has entries of the last layer that is not empty: mode, owner and content.
	layer map[string]string
}

var runCases = []runCase{
	{name: "runs", dockerfile: "FROM nginx\nRUN echo ok > /x && mkdir /d && rm /etc/nginx/nginx.conf\n",
		layer: map[string]string{"x": "0644 0:0 ok\n", "d/": "0755 0:0 ", "etc/nginx/.wh.nginx.conf": "0600 0:0 "}},
	{name: "records owners", dockerfile: "FROM nginx\nRUN mkdir /x && touch /x/f && busybox chown -R 101:101 /x && chmod 2750 /x\n",
		layer: map[string]string{"x/": "2750 101:101 ", "x/f": "0644 101:101 "}},
	{name: "is another user", dockerfile: "FROM nginx\nRUN mkdir -m 0777 /x\nUSER nginx\nRUN id -u > /x/id\n",
		layer: map[string]string{"x/id": "0644 101:101 101\n"}},
	{name: "reads here-documents", layer: map[string]string{"x": "0644 0:0 one\ntwo\n", "y": "0644 0:0 $HOME\n"},
		dockerfile: "FROM nginx\nCOPY <<'EOF' /y\n$HOME\nEOF\nRUN <<EOF\necho one > /z\necho two >> /z\nEOF\nRUN mv /z /x; cp /y /w; mv /w /y\n"},
	{name: "sees a secret in memory", args: []string{"--secret", "id=token,env=TOKEN"}, env: []string{"TOKEN=hush-hush"},
		dockerfile: "FROM nginx\nRUN --mount=type=secret,id=token grep -qx hush.hush /run/secrets/token && echo ok > /x\n",
		layer:      map[string]string{"x": "0644 0:0 ok\n"}},
	{name: "sees a secret as a variable", args: []string{"--secret", "id=token,env=TOKEN"}, env: []string{"TOKEN=hush-hush"},
		dockerfile: "FROM nginx\nRUN --mount=type=secret,id=token,env=T echo $T | grep -qx hush.hush && echo ok > /x\n",
		layer:      map[string]string{"x": "0644 0:0 ok\n"}},
	{name: "writes a secret down", args: []string{"--secret", "id=token,env=TOKEN"}, env: []string{"TOKEN=hush-hush"}, code: 1,
		dockerfile: "FROM nginx\nRUN --mount=type=secret,id=token cp /run/secrets/token /x\n",
		stderr:     []string{"error: Dockerfile:2: ", "/x holds the value of the secret \"token\"", "hint: "}},
	{name: "wants a secret", code: 1, stderr: []string{"Dockerfile:2: ", "token", "hint: ", "--secret id=token"},
		dockerfile: "FROM nginx\nRUN --mount=type=secret,id=token,required=true true\n"},
	{name: "binds the context", files: map[string]string{"f": "of the context\n"},
		dockerfile: "FROM nginx\nRUN --mount=target=/src cp /src/f /x && ! touch /src/g 2>/dev/null\n",
		layer:      map[string]string{"x": "0644 0:0 of the context\n"}},
	{name: "binds a stage", layer: map[string]string{"x": "0644 0:0 made\n"},
		dockerfile: "FROM nginx AS a\nRUN mkdir /m && echo made > /m/f\nFROM nginx\nRUN --mount=from=a,source=/m,target=/m cp /m/f /x\n"},
	{name: "has memory", layer: map[string]string{"x": "0644 0:0 ok\n"},
		dockerfile: "FROM nginx\nRUN --mount=type=tmpfs,target=/t echo ok > /t/f && cp /t/f /x\nRUN test ! -e /t/f && cp /x /y && mv /y /x\n"},
	{name: "has the network of this machine", layer: map[string]string{"x": "0644 0:0 ok\n"},
		dockerfile: "FROM nginx\nARG NETWORK\nRUN test $(readlink /proc/self/ns/net) = $NETWORK && echo ok > /x\n"},
	{name: "has no network when told so", layer: map[string]string{"x": "0644 0:0 ok\n"},
		dockerfile: "FROM nginx\nARG NETWORK\nRUN --network=none test $(readlink /proc/self/ns/net) != $NETWORK && test $(grep -c : /proc/net/dev) = 1 && echo ok > /x\n"},
	{name: "runs side by side", args: []string{"-j", "2", "--timeout", "1m"},
		dockerfile: "FROM nginx AS a\nRUN --mount=type=cache,id=meet,target=/c touch /c/a; until [ -e /c/b ]; do sleep 0.1; done; echo a > /x\n" +
			"FROM nginx AS b\nRUN --mount=type=cache,id=meet,target=/c touch /c/b; until [ -e /c/a ]; do sleep 0.1; done; echo b > /x\n" +
			"FROM nginx\nCOPY --from=a /x /a\nCOPY --from=b /x /b\n", layer: map[string]string{"b": "0644 0:0 b\n"}},
	{name: "takes turns with the stage that it shows", args: []string{"-j", "1", "--timeout", "1m"},
		dockerfile: "FROM nginx AS a\nRUN sleep 0.3; echo made > /f\nFROM nginx AS b\nRUN sleep 0.1; echo b > /f\nFROM nginx\n" +
			"RUN --mount=from=a,target=/a --mount=from=b,target=/b cat /a/f /b/f > /x\n", layer: map[string]string{"x": "0644 0:0 made\nb\n"}},
	{name: "leaves a daemon", dockerfile: "FROM nginx\nRUN echo ok > /x; (sleep 54323 &)\n", layer: map[string]string{"x": "0644 0:0 ok\n"}},
	{name: "sees no variable of the caller", env: []string{"HOST_SECRET=x"}, layer: map[string]string{"x": "0644 0:0 ok\n"},
		dockerfile: "FROM nginx\nRUN env | grep -q HOST_SECRET && exit 9; echo ok > /x\n"},
	{name: "fails", dockerfile: "FROM nginx\nRUN true\nRUN echo last words; exit 3\n", code: 1,
		stderr: []string{"last words", "error: Dockerfile:3: ", "exit code 3"}},
	{name: "fails in a here-document", dockerfile: "FROM nginx\nRUN <<EOF\nset -e\necho last words\nfalse\nEOF\n", code: 1,
		stderr: []string{"last words", "error: Dockerfile:2: ", "exit code 1"}},
	{name: "names no command", dockerfile: "FROM nginx\nRUN nosuchcommand\n", code: 1,
		stderr: []string{"error: Dockerfile:2: ", "nosuchcommand", "exit code 127"}},
	{name: "names no program", dockerfile: "FROM nginx\nRUN [\"/nosuchprogram\"]\n", code: 1,
		stderr: []string{"error: Dockerfile:2: ", "/nosuchprogram"}},
	{name: "has no shell", dockerfile: "FROM scratch\nCOPY f /\nRUN true\n", files: map[string]string{"f": "f"}, code: 1,
		stderr: []string{"error: Dockerfile:3: ", "/bin/sh", "hint: "}},
	{name: "hangs", dockerfile: "FROM nginx\nRUN sleep 1000\n", args: []string{"--timeout", "1s"}, code: 1,
		stderr: []string{"longer than 1s", "hint: ", "--timeout"}},
	{name: "fails beside another stage", code: 1, stderr: []string{"error: Dockerfile:4: ", "exit code 4"},
		dockerfile: "FROM nginx AS a\nRUN sleep 54323\nFROM nginx AS b\nRUN exit 4\nFROM nginx\nCOPY --from=a /x /\nCOPY --from=b /x /\n",
		args:       []string{"-j", "2"}},
}

// TestRunsAreHeld executes RUNs of all kinds, as the test's user and as a plain one.
func TestRunsAreHeld(t *testing.T) {
	w := newHub(t, false)
	for _, u := range w.users {
		for i, c := range runCases {
			t.Run(u.name+"/"+c.name, func(t *testing.T) { w.runCase(t, u, c, fmt.Sprintf("case%d", i)) })
		}
	}
	if out, err := exec.Command("pgrep", "-f", "sleep 54323").Output(); err == nil {
		t.Errorf("a process is left: %s", out)
	}
}

func (w *hubWorld) runCase(t *testing.T, u user, c runCase, dir string) {
	u.write(t, dir+"/Dockerfile", c.dockerfile)
	for name, text := range c.files {
		u.write(t, dir+"/"+name, text)
	}
	out := filepath.Join(u.home, "out-"+dir)
	args := append([]string{dir, "-o", "oci:" + out}, c.args...)
	if strings.Contains(c.dockerfile, "ARG NETWORK") {
		network, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, "--build-arg", "NETWORK="+network)
	}
	got := w.build(t, u, c.env, args...)
	if got.code != c.code {
		t.Fatalf("exit code %d, want %d\n%s", got.code, c.code, got.stderr)
	}
	for _, want := range c.stderr {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("no %q in\n%s", want, got.stderr)
		}
	}
	if c.code != 0 {
		if _, err := os.Lstat(out); got.stdout != "" || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after a failure: stdout %q, output %v", got.stdout, err)
		}
		return
	}
	entries := topLayer(t, out)
	for name, want := range c.layer {
		if entries[name] != want {
			t.Errorf("%s: %q, want %q, of %v", name, entries[name], want, entries)
		}
	}
	for _, name := range []string{"run/secrets", "run/secrets/", "t/", "src/", "m/f"} {
		if entry, ok := entries[name]; ok && strings.Contains(c.dockerfile, "--mount") && !strings.HasSuffix(entry, " ") {
			t.Errorf("of a mount there is %s in the layer: %s", name, entry)
		}
	}
	if data := everyByte(t, out); bytes.Contains(data, []byte("hush-hush")) {
		t.Error("the secret is in the image")
	}
}

// layersOf opens a layout's first image, validates it, and returns its layers.
func layersOf(t *testing.T, dir string) []v1.Layer {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	img := firstImage(t, index)
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return layers
}

// topLayer reads the entries of a layout's last layer.
func topLayer(t *testing.T, dir string) map[string]string {
	t.Helper()
	layers := layersOf(t, dir)
	r, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	entries := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		entries[h.Name] = fmt.Sprintf("%04o %d:%d %s", h.Mode, h.Uid, h.Gid, data)
	}
}

// everyByte is a layout's config and layers, uncompressed.
func everyByte(t *testing.T, dir string) []byte {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, err := firstImage(t, index).RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layersOf(t, dir) {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

// TestCacheMountsOutliveTheBuild fills a cache mount, and finds it filled by the
// next build; the image has nothing of it.
func TestCacheMountsOutliveTheBuild(t *testing.T) {
	w := newHub(t, false)
	for _, u := range w.users {
		t.Run(u.name, func(t *testing.T) {
			u.write(t, "ctx/Dockerfile", "FROM nginx\nARG N\nRUN --mount=type=cache,target=/c echo $N >> /c/log; cp /c/log /x\n")
			for n, want := range []string{"0644 0:0 0\n", "0644 0:0 0\n1\n"} {
				out := fmt.Sprintf("out%d", n)
				w.mustBuild(t, u, "ctx", "-o", "oci:"+out, "--build-arg", fmt.Sprintf("N=%d", n))
				entries := topLayer(t, filepath.Join(u.home, out))
				if entries["x"] != want || entries["c/log"] != "" {
					t.Errorf("build %d: %v", n, entries)
				}
			}
		})
	}
}

// TestRunsForwardAnAgent shows the socket of an agent to a RUN that asks for it.
func TestRunsForwardAnAgent(t *testing.T) {
	w := newHub(t, false)
	u := w.users[0]
	socket := filepath.Join(u.home, "agent.sock")
	agent, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	u.write(t, "ctx/Dockerfile", "FROM nginx\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && echo ok > /x\nRUN test -z \"$SSH_AUTH_SOCK\"\n")
	w.mustBuild(t, u, "ctx", "-o", "oci:out", "--ssh", "default="+socket)
	if got := topLayer(t, filepath.Join(u.home, "out"))["x"]; got != "0644 0:0 ok\n" {
		t.Errorf("x: %q", got)
	}
}

// TestInterruptEndsTheRun sends ^C while two RUNs execute.
func TestInterruptEndsTheRun(t *testing.T) {
	w := newHub(t, false)
	u := w.users[len(w.users)-1]
	u.write(t, "ctx/Dockerfile", "FROM nginx AS a\nRUN (sleep 54324 &); echo started; trap '' TERM INT; sleep 54324\n"+
		"FROM nginx AS b\nRUN sleep 54324\nFROM nginx\nCOPY --from=a /x /\nCOPY --from=b /x /\n")
	cmd := exec.CommandContext(t.Context(), filepath.Join(u.bin, "decant"), "build", "ctx",
		"--mirror", "docker.io="+w.host, "--progress", "plain", "-o", "oci:out", "-j", "2")
	cmd.Dir, cmd.SysProcAttr = u.home, u.attr
	cmd.Env = []string{"HOME=" + u.home, "PATH=/usr/bin:/bin", "TMPDIR=" + u.home}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen, buf := "", make([]byte, 4096)
	interrupted := false
	for {
		n, err := stderr.Read(buf)
		seen += string(buf[:n])
		if !interrupted && strings.Contains(seen, "started\n") {
			interrupted = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			break
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !interrupted || !errors.As(err, &exit) || exit.ExitCode() != exitCanceled {
		t.Errorf("%v, want exit code %d: %s", err, exitCanceled, seen)
	}
	if out, err := exec.Command("pgrep", "-f", "sleep 54324").Output(); err == nil {
		t.Errorf("a process is left: %s", out)
	}
	left, _ := filepath.Glob(filepath.Join(u.home, ".cache/decant/temp/*"))
	if _, err := os.Lstat(filepath.Join(u.home, "out")); len(left) > 0 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
