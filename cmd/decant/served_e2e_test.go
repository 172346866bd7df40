package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/decant-build/decant/testdata/bed"
)

// hostile is a value that would leave a string, a script and a line, if it could.
const hostile = "</script><script>window.hurt=1</script>\"'\\\n`${1}\u2028ü$uri\t\r\n\n"

// servedImages are the shapes of base and user that decant configures.
var servedImages = []struct {
	name, base string
	args       []string
}{
	{name: "official", base: "official"},
	{name: "official as a user", base: "official", args: []string{"--user", "101", "--port", "8080"}},
	{name: "unprivileged", base: "unprivileged"},
}

// TestServedRightInABrowser builds two releases of a single-page site, serves them
// with the image's own nginx in the sandbox, one after the other on one port, and
// looks at what a browser makes of it.
func TestServedRightInABrowser(t *testing.T) {
	w := newServeWorld(t)
	defer w.close(t)
	for _, c := range servedImages {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"--csp", "auto", "--runtime-env", "PUBLIC_",
				"--env", "PUBLIC_NAME=" + hostile, "--env", "PRIVATE_NAME=hush"}, c.args...)
			first := w.build(t, w.site(t, "shop-1", nil), c.base, args...)
			second := w.build(t, w.site(t, "shop-2", nil), c.base, args...)
			r := w.serve(t, first, 0)
			defer r.stop(t)
			v := &visit{tab: w.openTab(t), url: r.url}
			v.firstLoad(t)
			v.deepLink(t)
			v.policy(t)
			v.compressed(t)
			page := fetch(t, r.url+"/")
			load(t, v.tab, r.url+"/")
			r.stop(t)
			defer w.serve(t, second, r.port).stop(t)
			v.redeployed(t)
			v.conditional(t, page)
		})
	}
}

// visit is a tab at a served site.
type visit struct {
	tab *bed.Tab
	url string
}

// firstLoad finds a page that is whole: its module with an .mjs name, its inline
// script, its style, and the variables of the container, as they are.
func (v *visit) firstLoad(t *testing.T) {
	load(t, v.tab, v.url+"/")
	if got, want := shown(t, v.tab),
		"release 1: home at 7.00: hello "+hostile; got != want {
		t.Errorf("the page shows %q, not %q", got, want)
	}
	for expression, want := range map[string]string{
		"window.booted": "inline",
		"getComputedStyle(document.querySelector('main')).color": "rgb(1, 2, 3)",
		"window.hurt":                   "undefined",
		"Object.keys(window.__env)":     "PUBLIC_NAME",
		"Object.isFrozen(window.__env)": "true",
		"fetch('/app.webmanifest').then((r) => r.headers.get('content-type'))": "application/manifest+json",
	} {
		if got := valueOf(t, v.tab, expression); got != want {
			t.Errorf("%s is %q, not %q", expression, got, want)
		}
	}
	module := bed.Response{URL: v.url + "/lib/greet.mjs", Status: http.StatusOK, Type: "text/javascript"}
	found := false
	for _, r := range v.tab.Responses() {
		found = found || r == module
	}
	if !found {
		t.Error("the .mjs did not come as a script")
	}
}

// deepLink opens an address that is no file, and loads it again. What is named by
// its hash is not asked for a second time.
func (v *visit) deepLink(t *testing.T) {
	const want = "release 1: order 42: hello "
	load(t, v.tab, v.url+"/orders/42")
	if got := shown(t, v.tab); !strings.HasPrefix(got, want) {
		t.Errorf("the deep link shows %q", got)
	}
	v.tab.Responses()
	if err := v.tab.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	quiet(t, v.tab, "reloaded")
	if got := shown(t, v.tab); !strings.HasPrefix(got, want) {
		t.Errorf("reloaded, the deep link shows %q", got)
	}
	for _, r := range v.tab.Responses() {
		hashed := strings.Contains(r.URL, "/assets/")
		if hashed && !r.Cached {
			t.Errorf("%s was asked for again", r.URL)
		}
		if strings.HasSuffix(r.URL, "/env.js") && r.Cached {
			t.Error("the variables of the container came from the cache")
		}
	}
}

// policy injects scripts into a page, which must not run.
func (v *visit) policy(t *testing.T) {
	for name, inject := range map[string]string{
		"an inline script": `const s = document.createElement('script')
			s.textContent = 'window.injected = 1'; document.body.append(s)`,
		"a handler": `document.body.insertAdjacentHTML('beforeend',
				'<img src="data:," onerror="window.injected = 1">')
			await new Promise((done) => setTimeout(done, 100))`,
		"a script of another server": `const s = document.createElement('script')
			s.src = 'http://127.0.0.1:1/x.js'; document.body.append(s)
			await new Promise((done) => { s.onerror = s.onload = done })`,
	} {
		if got := valueOf(t, v.tab, `(async () => { `+inject+"\nreturn window.injected })()"); got != "undefined" {
			t.Errorf("%s ran", name)
		}
		faults := strings.Join(v.tab.Faults(), "\n")
		if !strings.Contains(faults, "Content Security Policy") {
			t.Errorf("%s: the console says %q", name, faults)
		}
	}
}

// compressed asks for what has a compressed sibling, with and without compression.
func (v *visit) compressed(t *testing.T) {
	const library = "/assets/vendor-Zt6m1Ws9.js"
	plain := fetch(t, v.url+library)
	packed := fetch(t, v.url+library, "Accept-Encoding", "gzip")
	without, with := plain.header.Get("Content-Encoding"), packed.header.Get("Content-Encoding")
	if without != "" || with != "gzip" {
		t.Fatalf("encoded %q without, %q with gzip", without, with)
	}
	z, err := gzip.NewReader(strings.NewReader(packed.body))
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(decoded, []byte(plain.body)) || len(packed.body) >= len(plain.body)/2 {
		t.Errorf("%d bytes became %d, which are %d decoded", len(plain.body), len(packed.body), len(decoded))
	}
	if !strings.Contains(packed.header.Get("Vary"), "Accept-Encoding") {
		t.Error("a cache would give it to who does not take it")
	}
}

// redeployed looks at the second release from the tab of the first.
func (v *visit) redeployed(t *testing.T) {
	const page = `fetch('/').then(async (r) => r.status + ' ' +
		(await r.text()).includes('app-Cq7m2Rt8.js'))`
	if got := valueOf(t, v.tab, page); got != "200 true" {
		t.Errorf("the old tab gets the page of the old release: %s", got)
	}
	const status = ".then((r) => r.status + ' ' + r.headers.get('cache-control'))"
	for file, want := range map[string]string{
		"/assets/vendor-Zt6m1Ws9.js": "200 public, max-age=31536000, immutable",
		"/assets/orders-Hc5v8Ln3.js": "404 no-cache",
		"/assets/orders-Jd2w6Pk9.js": "200 public, max-age=31536000, immutable",
	} {
		if got := valueOf(t, v.tab, "fetch('"+file+"', {cache: 'reload'})"+status); got != want {
			t.Errorf("%s: %s, want %s", file, got, want)
		}
	}
	v.tab.Faults()
	if got := valueOf(t, v.tab, "window.loadOrders().catch((e) => e.name)"); got != "TypeError" {
		t.Errorf("a part of the old release: %s", got)
	}
	for _, fault := range v.tab.Faults() {
		if strings.Contains(fault, "MIME") {
			t.Errorf("a page came in place of a script: %s", fault)
		}
	}
	if err := v.tab.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	quiet(t, v.tab, "the new release")
	if got := shown(t, v.tab); !strings.HasPrefix(got, "release 2") {
		t.Errorf("reloaded, the tab shows %q", got)
	}
}

// conditional asks for the page if it is not that of the first release, which is as
// long.
func (v *visit) conditional(t *testing.T, old fetched) {
	now := fetch(t, v.url+"/")
	if len(now.body) != len(old.body) || now.body == old.body {
		t.Fatalf("the releases' pages have %d and %d bytes", len(old.body), len(now.body))
	}
	for header, of := range map[string]string{
		"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified",
	} {
		changed := fetch(t, v.url+"/", header, old.header.Get(of))
		if changed.status != http.StatusOK || changed.body != now.body {
			t.Errorf("%s of the old release: %d", header, changed.status)
		}
		same := fetch(t, v.url+"/", header, now.header.Get(of))
		if same.status != http.StatusNotModified {
			t.Errorf("%s of this release: %d", header, same.status)
		}
	}
}

// TestServedBelowABasePath serves a site that was built for /shop/.
func TestServedBelowABasePath(t *testing.T) {
	w := newServeWorld(t)
	defer w.close(t)
	dir := w.site(t, "shop-1", func(file, text string) string {
		if file == "index.html" {
			text = strings.ReplaceAll(text, `"/`, `"/shop/`)
		}
		return text
	})
	r := w.serve(t, w.build(t, dir, "unprivileged", "--base-path", "/shop/",
		"--runtime-env", "PUBLIC_NAME", "--env", "PUBLIC_NAME=you"), 0)
	defer r.stop(t)
	tab := w.openTab(t)
	for path, want := range map[string]string{
		"/shop/": "release 1: home at 7.00: hello you", "/shop/orders/7": "release 1: order 7: hello you",
		"/": "release 1: home at 7.00: hello you", "/shop": "release 1: home at 7.00: hello you",
	} {
		load(t, tab, r.url+path)
		if got := shown(t, tab); got != want {
			t.Errorf("%s shows %q", path, got)
		}
		if got := valueOf(t, tab, "location.pathname"); !strings.HasPrefix(got, "/shop/") {
			t.Errorf("%s led to %s", path, got)
		}
	}
	if got := fetch(t, r.url+"/shopping"); got.status != http.StatusNotFound {
		t.Errorf("beside the base path: %d", got.status)
	}
}

// TestPolicyBreaksNoPage serves a page of all that a policy may break with one that was
// computed, and finds that all of it works and the console has nothing to say.
func TestPolicyBreaksNoPage(t *testing.T) {
	w := newServeWorld(t)
	defer w.close(t)
	dir := w.site(t, "policy", func(_, text string) string {
		return strings.Replace(text, "CRLF\n", "CRLF\r\n", 1)
	})
	r := w.serve(t, w.build(t, dir, "unprivileged", "--csp", "auto"), 0)
	defer r.stop(t)
	tab := w.openTab(t)
	load(t, tab, r.url+"/")
	var ran []string
	if err := tab.Eval(t.Context(), "window.ran", &ran); err != nil {
		t.Fatal(err)
	}
	slices.Sort(ran)
	want := []string{"attribute 3px", "handler of the body", "handler with entities & ü", "image from data",
		"module by an import map", "module when it is needed", "script in an image", "script with markup",
		"script with the line ends of Windows", "set by script 5px", "sheet 9px", "style by script 7px",
		"style rgb(1, 2, 3)", "wasm", "worker from a blob", `{"is": "data"}`}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("what works (-want +got): %s", diff)
	}
	v := &visit{tab: tab, url: r.url}
	v.policy(t)
}

// TestServedFrontEnds builds the sample projects and looks at them in a browser: the
// one a Vite application with a part that is loaded when it is needed, the other
// pages that are files.
func TestServedFrontEnds(t *testing.T) {
	w := newServeWorld(t)
	defer w.close(t)
	node := needed[string](t)(w.bed.Node(t.Context(), nodeVersion))
	if _, err := w.bed.Push(t.Context(), node, w.host+"/node"); err != nil {
		t.Fatal(err)
	}
	t.Run("apps", func(t *testing.T) {
		for app, visit := range map[string]func(*testing.T, *bed.Tab, string){
			"vue-ts": visitVue, "eleventy": visitEleventy,
		} {
			t.Run(app, func(t *testing.T) {
				t.Parallel() // much of a build is waiting for the registry
				r := w.serve(t, w.project(t, app), 0)
				defer r.stop(t)
				visit(t, w.openTab(t), r.url)
			})
		}
	})
}

// visitEleventy looks at pages that are files, with and without a slash, and at one
// that is not there.
func visitEleventy(t *testing.T, tab *bed.Tab, url string) {
	for _, path := range []string{"/", "/guide/", "/guide"} {
		if err := tab.Go(t.Context(), url+path); err != nil {
			t.Fatal(err)
		}
		complaints(t, tab, path)
		if got := valueOf(t, tab, "document.querySelectorAll('nav a').length"); got != "2" {
			t.Errorf("%s has %s links", path, got)
		}
	}
	if got := fetch(t, url+"/nowhere"); got.status != http.StatusNotFound ||
		!strings.Contains(got.body, "There is no such page") {
		t.Errorf("a page that is not there: %d %s", got.status, got.body)
	}
}

// visitVue looks at the sample application at two addresses, and asks for its second
// part.
func visitVue(t *testing.T, tab *bed.Tab, url string) {
	const about = `(async () => {
		[...document.querySelectorAll('button')].find((b) => b.textContent === 'About').click()
		let part
		for (let i = 0; i < 500 && !(part = document.querySelector('p')); i++) {
			await new Promise((done) => setTimeout(done, 10))
		}
		return part?.textContent + getComputedStyle(part).borderLeftWidth
	})()`
	for _, path := range []string{"/", "/any/path"} {
		if err := tab.Go(t.Context(), url+path); err != nil {
			t.Fatal(err)
		}
		if got := valueOf(t, tab, about); !strings.Contains(got, "loaded when it is asked for") ||
			!strings.HasSuffix(got, "4px") {
			t.Errorf("%s: the second part is %q", path, got)
		}
		complaints(t, tab, path)
	}
}
