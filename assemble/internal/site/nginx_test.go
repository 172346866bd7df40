package site

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// nginxProgram is the real server, without which nothing here is proven.
func nginxProgram(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if file, err := exec.LookPath(name); err == nil {
			return file
		}
	}
	missing(t, "nginx is not installed")
	return ""
}

// layouts are nginx.conf of the images, as they are in them.
var layouts = map[string]struct {
	conf   string
	server Server
}{
	"official": {`user nginx;
worker_processes auto;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    log_format main '$remote_addr';
    access_log /var/log/nginx/access.log main;
    sendfile on;
    keepalive_timeout 65;
    include /etc/nginx/conf.d/*.conf;
}`, Server{Port: 80, Hooks: true}},
	"alpine": {`user nginx;
worker_processes auto;
pcre_jit on;
error_log /var/log/nginx/error.log warn;
events { worker_connections 1024; }
http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    server_tokens off;
    client_max_body_size 1m;
    sendfile on;
    tcp_nopush on;
    gzip_vary on;
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    include /etc/nginx/conf.d/*.conf;
}`, Server{Port: 80, Hooks: true}},
	"unprivileged": {`worker_processes auto;
error_log /var/log/nginx/error.log notice;
pid /tmp/nginx.pid;
events { worker_connections 1024; }
http {
    proxy_temp_path /tmp/proxy_temp;
    client_body_temp_path /tmp/client_temp;
    fastcgi_temp_path /tmp/fastcgi_temp;
    uwsgi_temp_path /tmp/uwsgi_temp;
    scgi_temp_path /tmp/scgi_temp;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    include /etc/nginx/conf.d/*.conf;
}`, Server{Port: 8080, User: "101", Hooks: true}},
}

// image is a directory that a base, a site and what Files adds were laid out in.
type image struct {
	dir    string
	layout string
}

var (
	absolute    = regexp.MustCompile(`([\s"])(/(?:etc/nginx/conf|usr/share|var|run|tmp)\b)`)
	userLine    = regexp.MustCompile(`(?m)^user .*$`)
	listenLines = regexp.MustCompile(`listen \d+;`)
)

// lay writes a site and entries over a layout. Paths become those of this machine, and
// the port one that is free.
func lay(t *testing.T, layout string, tree layer.Tree, entries []layer.Entry, listen string) *image {
	t.Helper()
	img := &image{dir: t.TempDir(), layout: layout}
	if err := os.Chmod(img.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	img.put(t, "etc/nginx/nginx.conf", []byte(layouts[layout].conf))
	for _, dir := range []string{"var/log/nginx", "run", "tmp"} {
		if err := os.MkdirAll(filepath.Join(img.dir, dir), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range append(append([]layer.Entry{}, tree.Entries...), entries...) {
		if e.Kind != layer.File {
			continue
		}
		data := e.Data
		if e.Source != "" {
			from := e.Base
			if from == "" {
				from = tree.Dir
			}
			var err error
			if data, err = os.ReadFile(filepath.Join(from, e.Source)); err != nil {
				t.Fatal(err)
			}
		}
		img.put(t, e.Name, data)
	}
	conf := img.read(t, "etc/nginx/conf.d/default.conf")
	// Not every system that tests has IPv6.
	conf = strings.ReplaceAll(conf, "listen [::]:", "listen 127.0.0.2:")
	conf = listenLines.ReplaceAllString(conf, "listen "+listen+";")
	img.put(t, "etc/nginx/conf.d/default.conf", []byte(img.relocate(conf)))
	main := userLine.ReplaceAllString(img.relocate(img.read(t, "etc/nginx/nginx.conf")), "user root;")
	main = strings.ReplaceAll(main, "worker_processes auto", "worker_processes 1")
	if !strings.Contains(main, "client_body_temp_path") {
		for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			main = strings.Replace(main, "http {", "http {\n"+what+"_temp_path "+img.dir+"/tmp/"+what+";", 1)
		}
	}
	if !strings.Contains(main, "pid ") {
		main += "\npid " + img.dir + "/run/nginx.pid;\n"
	}
	img.put(t, "etc/nginx/nginx.conf", []byte(main))
	return img
}

func (img *image) relocate(conf string) string {
	return absolute.ReplaceAllString(conf, "${1}"+img.dir+"${2}")
}

func (img *image) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(img.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (img *image) put(t *testing.T, name string, data []byte) {
	t.Helper()
	file := filepath.Join(img.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (img *image) command(t *testing.T, more ...string) *exec.Cmd {
	args := append([]string{"-c", filepath.Join(img.dir, "etc/nginx/nginx.conf"), "-p", img.dir,
		"-e", filepath.Join(img.dir, "early.log")}, more...)
	return exec.Command(nginxProgram(t), args...)
}

// test runs nginx -t, and returns what it says beyond that all is well.
func (img *image) test(t *testing.T) string {
	t.Helper()
	out, err := img.command(t, "-t").CombinedOutput()
	text := string(out)
	if log, readErr := os.ReadFile(filepath.Join(img.dir, "var/log/nginx/error.log")); readErr == nil {
		text += string(log)
	}
	if err != nil {
		t.Fatalf("nginx -t on %s: %v\n%s\n%s", img.layout, err, text, img.read(t, "etc/nginx/conf.d/default.conf"))
	}
	var rest []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if !strings.Contains(line, "syntax is ok") && !strings.Contains(line, "is successful") {
			rest = append(rest, line)
		}
	}
	return strings.Join(rest, "\n")
}

// served is a running nginx.
type served struct {
	t      *testing.T
	client *http.Client
	image  *image
}

// serve starts nginx on a socket in the image's directory: no port is ever taken twice.
func serve(t *testing.T, layout string, tree layer.Tree, entries []layer.Entry) *served {
	t.Helper()
	dir, err := os.MkdirTemp("", "ngx") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	img := lay(t, layout, tree, entries, "unix:"+socket)
	cmd := img.command(t, "-g", "daemon off;")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		<-exited
	})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	s := &served{t: t, image: img, client: &http.Client{
		Transport:     &http.Transport{DialContext: dial, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	for {
		if c, err := dial(t.Context(), "", ""); err == nil {
			c.Close()
			return s
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("nginx ended: %v\n%s", err, log.String())
		default: // nothing but a connection says that it listens
		}
	}
}

// answer is what nginx sent.
type answer struct {
	code   int
	body   string
	header http.Header
}

// get asks for a path; more are headers, name and value by turns.
func (s *served) get(path string, more ...string) answer {
	s.t.Helper()
	return s.do("GET", path, more...)
}

func (s *served) do(method, path string, more ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://site.test:9999"+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(more); i += 2 {
		req.Header.Set(more[i], more[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, string(body), resp.Header}
}

// expect asks for a path and compares: want is the code, a part of the body (after a
// space), and headers (after a semicolon) as "Name: part of the value".
func (s *served) expect(path string, code int, body string, headers ...string) {
	s.t.Helper()
	got := s.get(path)
	if got.code != code || !strings.Contains(got.body, body) {
		s.t.Errorf("%s: %d %.200q, want %d with %q", path, got.code, got.body, code, body)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if have := strings.Join(got.header.Values(name), " | "); have != value {
			s.t.Errorf("%s: %s is %q, want %q", path, name, have, value)
		}
	}
}

// analyse is Analyse of files below the web root, which also have what scans give.
func analyse(t testing.TB, files map[string]string, o ServeOptions) (layer.Tree, *Analysis) {
	t.Helper()
	tree := scanned(t, files, o.BasePath)
	a, err := Analyse(t.Context(), tree, root, o)
	if err != nil {
		t.Fatal(err)
	}
	return tree, a
}

// scanned is a tree as Scan would give it.
func scanned(t testing.TB, files map[string]string, basePath string) layer.Tree {
	t.Helper()
	tree := siteOf(t, files)
	for i := range tree.Entries {
		e := &tree.Entries[i]
		e.Name = Place(root, basePath) + strings.TrimPrefix(e.Name, root)
		e.Mode = 0o644
		info, err := os.Stat(filepath.Join(tree.Dir, e.Source))
		if err != nil {
			t.Fatal(err)
		}
		e.Size, e.MTime = info.Size(), info.ModTime().UnixNano()
	}
	layer.Sort(tree.Entries)
	return tree
}

func serveSite(t *testing.T, files map[string]string, o ServeOptions) *served {
	t.Helper()
	tree, a := analyse(t, files, o)
	s := layouts["official"].server
	entries, err := Files(a, s, o)
	if err != nil {
		t.Fatal(err)
	}
	siblings, err := Precompress(t.Context(), tree, t.TempDir(), PrecompressOptions{Root: Place(root, o.BasePath)})
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, "official", tree, append(entries, siblings...))
}

var spa = map[string]string{
	"index.html":                             "<!doctype html><title>app</title><script type=module src=/assets/index-BxK3fQp1.js></script>",
	"assets/index-BxK3fQp1.js":               "console.log(1) //" + strings.Repeat(" a compressible line\n", 200),
	"assets/plain.js":                        "console.log(2)",
	"assets/company-background.png":          "png",
	"sw.js":                                  "self",
	"worker.mjs":                             "export {}",
	"app.webmanifest":                        "{}",
	"sub/index.html":                         "<p>sub",
	".vite/manifest.json":                    "{}",
	".well-known/security.txt":               "Contact: x",
	".well-known/apple-app-site-association": "{}",
}

func TestNginxServesASinglePageSite(t *testing.T) {
	s := serveSite(t, spa, ServeOptions{FrameworkHint: SinglePage})
	const good = "public, max-age=31536000, immutable"
	s.expect("/", 200, "<title>app", "Cache-Control: no-cache", "Content-Type: text/html; charset=utf-8",
		"X-Content-Type-Options: nosniff", "Referrer-Policy: strict-origin-when-cross-origin")
	s.expect("/deep/link", 200, "<title>app", "Cache-Control: no-cache")
	s.expect("/user/john.doe", 200, "<title>app")
	s.expect("/assets/index-BxK3fQp1.js", 200, "console.log(1)", "Cache-Control: "+good, "Vary: Accept-Encoding")
	s.expect("/assets/plain.js", 200, "console.log(2)", "Cache-Control: no-cache")
	s.expect("/assets/company-background.png", 200, "png", "Cache-Control: no-cache")
	s.expect("/assets/index-OLDOLD11.js", 404, "", "Cache-Control: no-cache")
	s.expect("/assets/nothing.js", 404, "nginx</center>", "Content-Type: text/html; charset=utf-8")
	s.expect("/sw.js", 200, "self", "Cache-Control: no-cache")
	s.expect("/worker.mjs", 200, "", "Content-Type: text/javascript; charset=utf-8")
	s.expect("/app.webmanifest", 200, "", "Content-Type: application/manifest+json")
	s.expect("/sub", 200, "<p>sub")
	s.expect("/.vite/manifest.json", 404, "")
	s.expect("/.env", 404, "")
	s.expect("/sub/.git/config", 404, "")
	s.expect("/.well-known/security.txt", 200, "Contact")
	s.expect("/.well-known/apple-app-site-association", 200, "{}", "Content-Type: application/json")
	s.expect("/.well-known-not", 404, "")
	s.expect("/healthz", 200, "ok\n", "Content-Type: text/plain; charset=utf-8")
	s.expect("/404.html", 404, "")
	s.expect("/%2e%2e/%2e%2e/etc/passwd", 400, "")
	if got := s.get("/").header.Get("Server"); got != "nginx" {
		t.Errorf("the server says that it is %q", got)
	}
}

func TestNginxAnswersConditionalHeadAndRange(t *testing.T) {
	s := serveSite(t, spa, ServeOptions{FrameworkHint: SinglePage})
	first := s.get("/")
	if got := s.get("/", "If-None-Match", first.header.Get("ETag")); got.code != 304 ||
		got.header.Get("Cache-Control") != "no-cache" {
		t.Errorf("asked again: %d %v", got.code, got.header)
	}
	const asset = "/assets/index-BxK3fQp1.js"
	if got := s.do("HEAD", asset); got.code != 200 || got.body != "" || got.header.Get("Content-Length") !=
		strconv.Itoa(len(spa[asset[1:]])) {
		t.Errorf("HEAD: %d %v", got.code, got.header)
	}
	if got := s.get(asset, "Range", "bytes=0-6"); got.code != 206 || got.body != "console" {
		t.Errorf("a range: %d %q", got.code, got.body)
	}
}

func date(t *testing.T, file string, seconds int64) {
	t.Helper()
	at := time.Unix(seconds, 0)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}
