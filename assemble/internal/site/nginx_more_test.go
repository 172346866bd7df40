package site

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

func TestNginxServesSiblings(t *testing.T) {
	s := serveSite(t, spa, ServeOptions{FrameworkHint: SinglePage})
	const asset = "/assets/index-BxK3fQp1.js"
	got := s.get(asset, "Accept-Encoding", "gzip, br", "Via", "1.0 proxy")
	if got.header.Get("Content-Encoding") != "gzip" || got.header.Get("Vary") != "Accept-Encoding" ||
		got.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Fatalf("headers %v", got.header)
	}
	if text := unzip(t, []byte(got.body)); text != spa[asset[1:]] {
		t.Errorf("the sibling holds %d bytes that are not the file's", len(text))
	}
	again := s.get(asset, "Accept-Encoding", "gzip", "If-None-Match", got.header.Get("ETag"))
	if again.code != 304 {
		t.Errorf("asked again: %d", again.code)
	}
}

func unzip(t *testing.T, data []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestNginxServesAMultiPageSite(t *testing.T) {
	s := serveSite(t, map[string]string{
		"index.html": "home", "404.html": "lost", "about.html": "about", "about/team.html": "team",
		"blog/one/index.html": "one", "empty/x.txt": "x",
	}, ServeOptions{})
	s.expect("/", 200, "home")
	s.expect("/about", 200, "about")
	s.expect("/about/team", 200, "team")
	s.expect("/blog/one", 301, "", "Location: /blog/one/")
	s.expect("/blog/one/", 200, "one")
	s.expect("/empty/", 404, "lost")
	s.expect("/nothing", 404, "lost", "Cache-Control: no-cache")
	s.expect("/nothing.js", 404, "lost")
}

func TestNginxFallsBackTo200(t *testing.T) {
	s := serveSite(t, map[string]string{
		"index.html": "home", "200.html": "app", "blog/one/index.html": "one", "_app/immutable/a.js": "a",
		"_app/version.json": "{}",
	}, ServeOptions{})
	s.expect("/orders/7", 200, "app", "Cache-Control: no-cache")
	s.expect("/blog/one/", 200, "one")
	s.expect("/_app/immutable/a.js", 200, "a", "Cache-Control: public, max-age=31536000, immutable")
	s.expect("/_app/immutable/b.js", 404, "nginx", "Cache-Control: no-cache")
	s.expect("/_app/version.json", 200, "{}", "Cache-Control: no-cache")
}

func TestNginxServesBelowABasePath(t *testing.T) {
	files := map[string]string{
		"index.html": "<script src=/shop/assets/a-1a2b3c4d.js></script>", "assets/a-1a2b3c4d.js": "a",
	}
	s := serveSite(t, files, ServeOptions{BasePath: "/shop/"})
	s.expect("/", 302, "", "Location: /shop/")
	s.expect("/shop", 301, "", "Location: /shop/")
	s.expect("/shop/", 200, "<script")
	s.expect("/shop/deep/link", 200, "<script", "Cache-Control: no-cache")
	s.expect("/shop/assets/a-1a2b3c4d.js", 200, "a", "Cache-Control: public, max-age=31536000, immutable")
	s.expect("/shop/assets/a-00000000.js", 404, "", "Cache-Control: no-cache")
	s.expect("/other", 404, "")
	s.expect("/shopping", 404, "")
	s.expect("/shop/.env", 404, "")
	s.expect("/healthz", 200, "ok")
}

func TestNginxHandsRequestsToAProxy(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=5")
		fmt.Fprintf(w, "%s %s for=%s host=%s proto=%s", r.Method, r.RequestURI,
			r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Forwarded-Proto"))
	}))
	defer backend.Close()
	s := serveSite(t, spa, ServeOptions{FrameworkHint: SinglePage, Proxies: []Proxy{
		{"/api", backend.URL}, {"/v1/", backend.URL + "/"}, {"/old", backend.URL + "/new/place"},
	}})
	for path, want := range map[string]string{
		"/api":          "GET /api ",
		"/api?x=1":      "GET /api?x=1 ",
		"/api/a.js?x=1": "GET /api/a.js?x=1 ",
		"/v1/users":     "GET /users ",
		"/v1":           "GET / ",
		"/old/x":        "GET /new/place/x ",
		"/old":          "GET /new/place ",
	} {
		s.expect(path, 200, want, "Cache-Control: max-age=5", "X-Content-Type-Options: nosniff")
	}
	s.expect("/apiary", 200, "<title>app")
	got := s.get("/api", "X-Forwarded-Proto", "https")
	if !strings.Contains(got.body, "host=site.test:9999 proto=https") {
		t.Errorf("the proxy passes on %q", got.body)
	}
}

func TestNginxSendsHeadersAndPolicy(t *testing.T) {
	s := serveSite(t, spa, ServeOptions{FrameworkHint: SinglePage, CSP: CSPAuto, Headers: []Header{
		{"Referrer-Policy", ""}, {"X-Content-Type-Options", "other"}, {"X-Odd", `a "quoted" \n; } { # x`},
	}})
	for _, path := range []string{"/", "/deep", "/assets/plain.js", "/nothing.js"} {
		got := s.get(path).header
		if got.Get("X-Odd") != `a "quoted" \n; } { # x` || got.Values("Referrer-Policy") != nil ||
			got.Get("X-Content-Type-Options") != "other" ||
			!strings.HasPrefix(got.Get("Content-Security-Policy"), "default-src 'self'; script-src 'self';") {
			t.Errorf("%s: headers %v", path, got)
		}
	}
}

func TestNginxSendsEachPageItsPolicy(t *testing.T) {
	files := map[string]string{"index.html": "home", "404.html": "lost", "x.txt": "x"}
	for i := range 60 {
		files[fmt.Sprintf("p%02d/index.html", i)] = fmt.Sprintf("<script>run(%d)</script>", i)
	}
	o := ServeOptions{CSP: CSPAuto}
	_, a := analyse(t, files, o)
	s := serveSite(t, files, o)
	for _, p := range a.Pages {
		path := "/" + strings.TrimSuffix(p.Path, "index.html")
		got := s.get(path).header.Get("Content-Security-Policy")
		for _, other := range a.Pages {
			for _, source := range other.Scripts {
				if strings.Contains(got, source) != (other.Path == p.Path) {
					t.Fatalf("%s: policy %q", path, got)
				}
			}
		}
	}
}

func TestNginxNeverCachesTheEnvironment(t *testing.T) {
	s := serveSite(t, map[string]string{"index.html": "<script src=/env.js></script>", "env.js": "placeholder"},
		ServeOptions{RuntimeEnv: []string{"APP_*"}})
	s.image.put(t, "tmp/decant-env.js", []byte("window.__env = {}"))
	s.expect("/env.js", 200, "window.__env", "Cache-Control: no-store")
	if got := s.get("/env.js").header.Get("Content-Type"); !strings.Contains(got, "javascript") {
		t.Errorf("env.js is %q", got)
	}
}

func TestNginxAcceptsTheConfOnEveryLayout(t *testing.T) {
	awkward := map[string]string{
		"index.html": "<script>a()</script>", "assets/a-1a2b3c4d.js": "x", "assets/b-5e6f7a8b.js": "x",
		"assets/c-9c0d1e2f.js": "x", `assets/a "b" $uri \t;{}-abcdefgh.js`: "x", "assets/ü-wordword.js": "x",
		"_next/static/x/_buildManifest.js": "x",
	}
	for layout, l := range layouts {
		for name, o := range map[string]ServeOptions{
			"default": {},
			"all": {IPv6: true, BasePath: "/a/b.c", CSP: CSPAuto, RuntimeEnv: []string{"A", "B_*"},
				Headers: []Header{{"X-A", `\" ' {`}}, Proxies: []Proxy{{"/api", "https://127.0.0.1/x/"}}},
		} {
			tree, a := analyse(t, awkward, o)
			entries, err := Files(a, l.server, o)
			if err != nil {
				t.Fatal(err)
			}
			if said := lay(t, layout, tree, entries, "127.0.0.1:1").test(t); said != "" {
				t.Errorf("%s with %s: nginx -t says\n%s", layout, name, said)
			}
		}
	}
}

func TestNginxConfForAnotherUserWritesToTmpOnly(t *testing.T) {
	o := ServeOptions{User: "101"}
	tree, a := analyse(t, spa, o)
	entries, err := Files(a, layouts["official"].server, o)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name] = true
	}
	if !names[mainConfFile] || !names[confFile] {
		t.Fatalf("files %v", names)
	}
	img := lay(t, "official", tree, entries, "127.0.0.1:1")
	main := img.read(t, mainConfFile)
	for _, place := range []string{"/tmp/nginx.pid", "/tmp/client_temp", "/tmp/proxy_temp"} {
		if !strings.Contains(main, img.dir+place) {
			t.Errorf("nginx.conf does not name %s", place)
		}
	}
	if said := img.test(t); said != "" {
		t.Errorf("nginx -t says\n%s", said)
	}
	if _, err := os.Stat(filepath.Join(img.dir, "tmp/client_temp")); err != nil {
		t.Error(err)
	}
}

func TestNginxGivesNewContentOfEqualLengthAfterARelease(t *testing.T) {
	// The times that layer gives; the wait for another second would be the test's alone.
	first, second := map[string]string{"index.html": "release one"}, map[string]string{"index.html": "release two"}
	old := serveDated(t, first, 946684800+1000).get("/")
	got := serveDated(t, second, 946684800+2000).get("/", "If-None-Match", old.header.Get("ETag"),
		"If-Modified-Since", old.header.Get("Last-Modified"))
	if got.code != 200 || got.body != "release two" {
		t.Errorf("after the release: %d %q", got.code, got.body)
	}
}

func serveDated(t *testing.T, files map[string]string, seconds int64) *served {
	s := serveSite(t, files, ServeOptions{})
	for name := range files {
		date(t, filepath.Join(s.image.dir, root, name), seconds)
	}
	return s
}
