package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/decant-build/decant/registry/registrytest"
	"github.com/decant-build/decant/testdata/bed"
)

// serveWorld is what the tests of serving share: the bases, a user without
// privileges if there is one, and a browser. Who makes one closes it.
type serveWorld struct {
	bed     *bed.Bed
	user    user
	host    string // of the registry
	browser *bed.Browser
}

func newServeWorld(t *testing.T) *serveWorld {
	t.Helper()
	if testing.Short() {
		t.Skip("-short")
	}
	b := openBed(t)
	layouts := map[string]string{
		"official":     needed[string](t)(b.Nginx(t.Context())),
		"unprivileged": needed[string](t)(b.NginxUnprivileged(t.Context())),
	}
	registry := registrytest.New(t, registrytest.Options{})
	for name, layout := range layouts {
		if _, err := b.Push(t.Context(), layout, registry.Host+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	bin := buildDecant(t)
	openPath(t, bin)
	all := users(t, bin)
	return &serveWorld{bed: b, user: all[len(all)-1], host: registry.Host,
		browser: needed[*bed.Browser](t)(b.Browser(t.Context()))}
}

// openTab opens a tab in the world's browser.
func (w *serveWorld) openTab(t *testing.T) *bed.Tab {
	t.Helper()
	tab, err := w.browser.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// close ends the browser.
func (w *serveWorld) close(t *testing.T) {
	t.Helper()
	if err := w.browser.Close(); err != nil {
		t.Error(err)
	}
}

// site writes a site of testdata/serve into the user's home and returns its
// directory. change may change a file; its library is large enough to be
// compressed.
func (w *serveWorld) site(t *testing.T, name string, change func(file, text string) string) string {
	t.Helper()
	archive, err := txtar.ParseFile("../../testdata/serve/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(w.user.home, strings.ReplaceAll(t.Name(), "/", "_")+"-"+name)
	for _, f := range archive.Files {
		text := string(f.Data)
		if strings.HasPrefix(f.Name, "assets/vendor-") {
			text += strings.Repeat("// what a library has to say, again and again\n", 60)
		}
		if change != nil {
			text = change(f.Name, text)
		}
		file := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// build builds a site for this machine onto a base and returns the image.
func (w *serveWorld) build(t *testing.T, dir, base string, args ...string) string {
	t.Helper()
	tag := w.host + "/web:" + strings.ToLower(filepath.Base(dir))
	return w.user.run(t, append([]string{"build", dir, "--base", w.host + "/" + base, "-t", tag,
		"--platform", hostPlatform, "-q"}, args...)...)
}

// running is decant run.
type running struct {
	url  string // without a slash at the end
	port int
	cmd  *exec.Cmd
	log  chan string
}

// serve runs an image with decant run, which the caller stops. Port 0 is a free one.
func (w *serveWorld) serve(t *testing.T, image string, port int) *running {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(w.user.bin, "decant"), "run", image,
		"--port", strconv.Itoa(port))
	cmd.Dir = w.user.home
	cmd.Env = []string{"HOME=" + w.user.home, "PATH=/usr/bin:/bin", "TMPDIR=" + w.user.home}
	cmd.SysProcAttr = w.user.attr
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{cmd: cmd, log: make(chan string, 1)}
	log := bufio.NewReader(stderr)
	for said := ""; r.url == ""; {
		line, err := log.ReadString('\n')
		said += line
		if m := regexp.MustCompile(`on (http://\S+:(\d+))/ until`).FindStringSubmatch(line); m != nil {
			r.url = m[1]
			r.port, _ = strconv.Atoi(m[2]) // digits
		} else if err != nil {
			_ = cmd.Wait() // what it said tells more
			t.Fatalf("decant run ended: %s", said)
		}
	}
	go func() {
		all, _ := io.ReadAll(log) // up to the end of the program
		r.log <- string(all)
	}()
	w.wait(t, r)
	return r
}

// wait returns when nginx answers.
func (w *serveWorld) wait(t *testing.T, r *running) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if resp, err := http.Get(r.url + "/healthz"); err == nil {
			resp.Body.Close()
			return
		}
	}
	t.Fatalf("nobody answers on %s", r.url)
}

// stop interrupts decant run; a second time it does nothing.
func (r *running) stop(t *testing.T) {
	t.Helper()
	if r.cmd.ProcessState != nil {
		return
	}
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	log := <-r.log
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("decant run: %v\n%s", err, log)
	}
}

// fetched is an answer of a server, as it came.
type fetched struct {
	status int
	header http.Header
	body   string
}

// fetch asks without following redirects, and without decoding what is compressed.
func fetch(t *testing.T, url string, headers ...string) fetched {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fetched{status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// load goes to an address, and fails unless the page is quiet and ready.
func load(t *testing.T, tab *bed.Tab, url string) {
	t.Helper()
	if err := tab.Go(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	quiet(t, tab, url)
}

// quiet waits for the page's script, and fails if it or the console has complaints.
func quiet(t *testing.T, tab *bed.Tab, url string) {
	t.Helper()
	const ready = `new Promise((done) => { const look = () => window.ready ? done() : setTimeout(look, 10);
		look(); setTimeout(done, 10000) })`
	if err := tab.Eval(t.Context(), ready, nil); err != nil {
		t.Error(err)
	}
	complaints(t, tab, url)
}

// complaints fails if the console has any. Not every page names an icon, and then the
// browser asks for one.
func complaints(t *testing.T, tab *bed.Tab, url string) {
	t.Helper()
	for _, fault := range tab.Faults() {
		if !strings.Contains(fault, "/favicon.ico") {
			t.Errorf("%s: the console says %s", url, fault)
		}
	}
}

// shown is what the sample site shows.
func shown(t *testing.T, tab *bed.Tab) string {
	t.Helper()
	return valueOf(t, tab, "document.querySelector('#app').textContent")
}

// valueOf is what an expression comes to in a page.
func valueOf(t *testing.T, tab *bed.Tab, expression string) string {
	t.Helper()
	var s string
	if err := tab.Eval(t.Context(), "(async () => String(await ("+expression+")))()", &s); err != nil {
		t.Error(err)
	}
	return s
}

// project builds a sample project, with a policy, and returns the image.
func (w *serveWorld) project(t *testing.T, app string) string {
	t.Helper()
	dir := filepath.Join(w.user.home, app)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../testdata/apps", app))); err != nil {
		t.Fatal(err)
	}
	return w.build(t, dir, "official", "--builder", w.host+"/node", "--csp", "auto")
}
