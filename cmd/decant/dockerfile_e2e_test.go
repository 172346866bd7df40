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
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/decant-build/decant/testdata/bed"
)

// The Dockerfiles that people have, as they write them.
const (
	prebuiltDockerfile = "FROM nginx\n" +
		"COPY dist /usr/share/nginx/html\n" +
		"CMD [ \"nginx\", \"-g\", \"daemon off;\" ]\n"
	nodeDockerfile = "FROM node\n" +
		"COPY . .\n" +
		"RUN npm install\n" +
		"RUN npm run build\n"
	multiStageDockerfile = "FROM node AS builder\n" +
		"COPY . .\n" +
		"RUN npm install\n" +
		"RUN npm run build\n" +
		"FROM nginx\n" +
		"COPY --from=builder dist /usr/share/nginx/html\n" +
		"CMD [ \"nginx\", \"-g\", \"daemon off;\" ]\n"
)

// hubWorld is a registry with what Docker Hub calls nginx and node.
type hubWorld struct {
	host  string
	users []user
}

// newHub starts one; node is not in it if the test has no use for it.
func newHub(t *testing.T, node bool) *hubWorld {
	t.Helper()
	if testing.Short() {
		t.Skip("-short")
	}
	b := openBed(t)
	layouts := map[string]string{"nginx": needed[string](t)(b.Nginx(t.Context()))}
	if node {
		layouts["node"] = needed[string](t)(b.Node(t.Context(), "22"))
	}
	registry := needed[*bed.Registry](t)(b.Registry(t.Context()))
	t.Cleanup(func() { registry.Stop() })
	for name, layout := range layouts {
		if _, err := b.Push(t.Context(), layout, registry.Host()+"/library/"+name); err != nil {
			t.Fatal(err)
		}
	}
	bin := buildDecant(t)
	openPath(t, bin)
	return &hubWorld{host: registry.Host(), users: users(t, bin)}
}

// outcome is what a command line came to.
type outcome struct {
	stdout, stderr string
	code           int
}

// build executes decant build with the hub's mirror, in the user's home.
func (w *hubWorld) build(t *testing.T, u user, env []string, args ...string) outcome {
	t.Helper()
	args = append([]string{"build", "--mirror", "docker.io=" + w.host, "--progress", "plain"}, args...)
	cmd := exec.CommandContext(t.Context(), filepath.Join(u.bin, "decant"), args...)
	cmd.Dir = u.home
	cmd.Env = append([]string{"HOME=" + u.home, "PATH=/usr/bin:/bin", "TMPDIR=" + u.home}, env...)
	cmd.SysProcAttr = u.attr
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(u.home, ".cache/decant/temp/*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return outcome{strings.TrimSpace(stdout.String()), stderr.String(), cmd.ProcessState.ExitCode()}
}

// mustBuild is build for what has to succeed.
func (w *hubWorld) mustBuild(t *testing.T, u user, args ...string) outcome {
	t.Helper()
	got := w.build(t, u, nil, args...)
	if got.code != 0 {
		t.Fatalf("decant build %q: exit code %d\n%s", args, got.code, got.stderr)
	}
	return got
}

func (u user) write(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join(u.home, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDockerfilesAsTheyAre builds the Dockerfiles that everybody has, of a real
// project, serves the result, and builds it again without running anything.
func TestDockerfilesAsTheyAre(t *testing.T) {
	w := newHub(t, true)
	for _, u := range w.users {
		t.Run(u.name, func(t *testing.T) { w.asTheyAre(t, u) })
	}
}

func (w *hubWorld) asTheyAre(t *testing.T, u user) {
	app := filepath.Join(u.home, "app")
	if err := os.CopyFS(app, os.DirFS("../../testdata/apps/vue-ts")); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(app, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	title := regexp.MustCompile(`<title>.*</title>`).ReplaceAll(index, []byte("<title>served</title>"))
	u.write(t, "app/index.html", string(title))
	u.write(t, "app/Dockerfile", multiStageDockerfile)
	u.write(t, "app/Dockerfile.builder", nodeDockerfile)
	byNumber := strings.Replace(multiStageDockerfile, "--from=builder", "--from=0", 1)
	u.write(t, "app/.dockerignore", "Dockerfile*\n.dockerignore\n")
	before := treeOf(t, app)

	first := w.mustBuild(t, u, "app", "-t", w.host+"/web:"+u.name)
	if !strings.Contains(first.stderr, "added ") {
		t.Errorf("npm install did not run:\n%s", first.stderr)
	}
	if diff := cmp.Diff(before, treeOf(t, app)); diff != "" {
		t.Errorf("the context changed: %s", diff)
	}
	serveOnce(t, u, first.stdout)

	again := w.mustBuild(t, u, "app", "-t", w.host+"/web:"+u.name)
	notRun(t, again)
	if again.stdout != first.stdout {
		t.Errorf("unchanged: %s, was %s", again.stdout, first.stdout)
	}

	// The same by number, the stage alone, and a second file: all of it is built.
	u.write(t, "number.Dockerfile", byNumber)
	notRun(t, w.mustBuild(t, u, "-f", "number.Dockerfile", "app", "-o", "oci:number"))
	w.mustBuild(t, u, "app", "-o", "oci:name")
	if diff := cmp.Diff(siteOf(t, filepath.Join(u.home, "name")), siteOf(t, filepath.Join(u.home, "number"))); diff != "" {
		t.Errorf("--from=0 is not --from=builder: %s", diff)
	}
	notRun(t, w.mustBuild(t, u, "--target", "builder", "-t", "my-app", "app"))
	if files := u.run(t, "run", "my-app", "--", "ls", "/dist"); !strings.Contains(files, "index.html") {
		t.Errorf("decant run my-app -- ls /dist: %q", files)
	}
	notRun(t, w.mustBuild(t, u, "-f", "app/Dockerfile.builder", "app", "-t", "second"))
	if files := u.run(t, "run", "second", "ls", "/dist"); !strings.Contains(files, "index.html") {
		t.Errorf("decant run second ls /dist: %q", files)
	}

	// The site out of the stage, and the Dockerfile that takes it from there.
	u.write(t, "take.Dockerfile", strings.Replace(byNumber[:strings.Index(byNumber, "CMD")],
		"FROM nginx\nCOPY --from=0 dist /usr/share/nginx/html", "FROM scratch\nCOPY --from=0 dist /", 1))
	u.write(t, "site/Dockerfile", prebuiltDockerfile)
	if u.attr != nil {
		if err := os.Chmod(filepath.Join(u.home, "site"), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	notRun(t, w.mustBuild(t, u, "-f", "take.Dockerfile", "app", "-o", "dir:site/dist"))
	w.mustBuild(t, u, "site", "-o", "oci:prebuilt")
	want := siteOf(t, filepath.Join(u.home, "name"))
	if diff := cmp.Diff(want, siteOf(t, filepath.Join(u.home, "prebuilt"))); diff != "" {
		t.Errorf("the prebuilt site is another: %s", diff)
	}
}

// notRun looks for what npm and vite print.
func notRun(t *testing.T, o outcome) {
	t.Helper()
	if strings.Contains(o.stderr, "added ") || strings.Contains(o.stderr, "built in") {
		t.Errorf("something was run again:\n%s", o.stderr)
	}
}

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

// TestFreshCachesGiveTheSameDigest builds a deterministic Dockerfile with one
// cache, with another, and as another user.
func TestFreshCachesGiveTheSameDigest(t *testing.T) {
	w := newHub(t, false)
	const text = "FROM nginx AS a\nWORKDIR /work\nCOPY f* ./\nRUN echo made > made && chmod 0700 made && ln -s made link\n" +
		"FROM nginx\nCOPY --from=a /work /srv\nRUN echo more > /more && rm -r /etc/nginx/conf.d && mkdir /etc/nginx/conf.d\nENV A=b\n"
	var references []string
	for _, u := range w.users {
		u.write(t, "ctx/Dockerfile", text)
		u.write(t, "ctx/f", "f\n")
		for _, cache := range []string{"one", "two"} {
			env := []string{"DECANT_CACHE_DIR=" + filepath.Join(u.home, cache)}
			for range 2 {
				got := w.build(t, u, env, "ctx", "-t", w.host+"/same:1")
				if got.code != 0 {
					t.Fatalf("exit code %d\n%s", got.code, got.stderr)
				}
				references = append(references, got.stdout)
			}
		}
	}
	if slices.Sort(references); references[0] != references[len(references)-1] {
		t.Errorf("different images: %q", slices.Compact(references))
	}
	u := w.users[0]
	u.write(t, "ctx/f2", "another\n")
	if got := w.mustBuild(t, u, "ctx", "-t", w.host+"/same:1").stdout; got == references[0] {
		t.Error("one more file to copy, and the same image")
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
