package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

// TestRunsForTheBuilderServeAllPlatforms executes a RUN once where FROM says that it
// is for the machine that builds, and makes an image for every platform.
func TestRunsForTheBuilderServeAllPlatforms(t *testing.T) {
	w := newHub(t, false)
	u := w.users[len(w.users)-1]
	u.write(t, "ctx/Dockerfile", "FROM --platform=$BUILDPLATFORM nginx AS b\nRUN echo executed | tee /x\nFROM nginx\nCOPY --from=b /x /x\n")
	got := w.mustBuild(t, u, "ctx", "-o", "oci:out")
	if n := strings.Count(got.stderr, "\nexecuted\n"); n != 1 {
		t.Errorf("the RUN was executed %d times:\n%s", n, got.stderr)
	}
	if !strings.Contains(got.stderr, "done: linux/amd64, linux/arm64 in") {
		t.Errorf("not for both platforms:\n%s", got.stderr)
	}
	if x := topLayer(t, filepath.Join(u.home, "out"))["x"]; x != "0644 0:0 executed\n" {
		t.Errorf("x: %q", x)
	}
}
