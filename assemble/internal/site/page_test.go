package site

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadPageHashesWhatABrowserExecutes(t *testing.T) {
	// What Chromium reports for the inline script alert(1).
	const alert = "'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='"
	p := readPage([]byte(`<!-- <script>comment()</script> -->
<script>alert(1)</script>
<script type="application/ld+json">{"a":1}</script>
<script type=text/template><script>x()</script>
<script src="https://cdn.test/x.js?v=1"></script>
<title><script>title()</script></title>
<textarea><script>text()</script></textarea>
<div data-x="<script>attribute()</script>"></div>
<script src=/local.js>ignored()</script>
<script>alert(1)</script>`))
	want := []string{alert, "https://cdn.test/x.js"}
	if diff := cmp.Diff(want, p.scripts); diff != "" {
		t.Error(diff)
	}
	// Browsers hash what they parsed: a line ends with a line feed alone.
	crlf, lf := readPage([]byte("<script>a\r\nb</script>")), readPage([]byte("<script>a\nb</script>"))
	if diff := cmp.Diff(crlf.scripts, lf.scripts); diff != "" || len(lf.scripts) != 1 {
		t.Error(diff)
	}
	escaped := readPage([]byte("<script>a &lt; '<!-- <script> </script>' --> b</script>"))
	if len(escaped.scripts) != 1 || escaped.scripts[0] != hashSource([]byte("a &lt; '<!-- <script> </script>' --> b")) {
		t.Errorf("a script in a script: %v", escaped.scripts)
	}
	handler := readPage([]byte(`<a onclick="go(&quot;x&quot;)">`))
	if len(handler.handlers) != 1 || handler.handlers[0] != hashSource([]byte(`go("x")`)) {
		t.Errorf("a handler: %v", handler.handlers)
	}
	style := readPage([]byte(`<style>a{}</style><link rel=stylesheet href=//fonts.test/css>`))
	if diff := cmp.Diff([]string{hashSource([]byte("a{}")), "fonts.test/css"}, style.styles); diff != "" {
		t.Error(diff)
	}
}

func TestForeignNeverEndsASource(t *testing.T) {
	for ref, want := range map[string]string{
		"https://a.test/x.js":            "https://a.test/x.js",
		"https://a.test:8443/x/":         "https://a.test:8443/x/",
		"//a.test/x":                     "a.test/x",
		"https://a.test/x;script-src *":  "https://a.test",
		"https://a.test/x y":             "https://a.test",
		"https://a.test/'unsafe-inline'": "https://a.test",
		"https://*/x":                    "",
		"https://a.test,b.test/":         "",
		"https://u:p@a.test/":            "",
		"data:text/javascript,x":         "",
		"javascript:x":                   "",
		"/local.js":                      "",
		"wss://a.test/":                  "",
		"https://a.test/%3B/x":           "https://a.test",
	} {
		if got := foreign(ref); got != want {
			t.Errorf("foreign(%q) = %q, want %q", ref, got, want)
		}
	}
}

func warnings(a *Analysis) string {
	var list []string
	for _, w := range a.Warnings {
		list = append(list, w.String())
	}
	return strings.Join(list, "\n")
}

func TestAnalyseWarnsOfLikelyMistakes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		o     ServeOptions
		want  string
	}{
		{"nothing", map[string]string{"index.html": `<script src="/a.js?x#y"></script><img src="data:image/png;base64,x">
<a href="/nowhere"><link rel=canonical href=/nowhere><img srcset="/a.js 1x, /a.js 2x"><img src="{{x}}">`, "a.js": "x"},
			ServeOptions{}, ""},
		{"maps", map[string]string{"index.html": "x", "a.js.map": "{}", "b.js.map": "{}"}, ServeOptions{},
			`"a.js.map": it is the first of 2 source maps: everybody can read the source`},
		{"an inline map", map[string]string{"index.html": "x", "a.js": "x\n//# sourceMappingURL=data:x"}, ServeOptions{},
			`"a.js":2: it has the source in it, as a source map`},
		{"localhost", map[string]string{"index.html": "x", "a.js": `"http://localhost:3000"`}, ServeOptions{},
			`"a.js":1: it has an address of the machine that built it`},
		{"missing", map[string]string{"index.html": "\n<script src=/a.js></script>\n<img srcset='/b.png 1x'>"}, ServeOptions{},
			"\"index.html\":2: it loads \"/a.js\", which is not there\n\"index.html\":3: it loads \"/b.png\", which is not there"},
		{"missing relatively", map[string]string{"index.html": "x", "b/index.html": "<img src=../a.png><img src=ok.png>",
			"b/ok.png": "x"}, ServeOptions{},
			`"b/index.html":1: it loads "../a.png", which is not there`},
		{"a base element", map[string]string{"index.html": "<base href=/><script src=a.js></script>", "a.js": "x"},
			ServeOptions{}, ""},
		{"a base path", map[string]string{"index.html": "<script src=/shop/a.js></script><link rel=icon href=/shop/b.ico>",
			"a.js": "x", "b.ico": "x"}, ServeOptions{},
			`"index.html": the site was built to be at /shop/, and would be at /: give its base path`},
		{"the base path", map[string]string{"index.html": "<script src=/shop/a.js></script>", "a.js": "x"},
			ServeOptions{BasePath: "/shop"}, ""},
		{"beside the base path", map[string]string{"index.html": "<script src=/a.js></script>", "a.js": "x"},
			ServeOptions{BasePath: "/shop"}, `"index.html":1: it loads "/a.js", which is not there`},
		{"a proxy's", map[string]string{"index.html": "<img src=/api/logo>"},
			ServeOptions{Proxies: []Proxy{{"/api", "http://x"}}}, ""},
		{"case", map[string]string{"index.html": "x", "a.js": "x", "A.js": "x"}, ServeOptions{},
			`"a.js": it differs from "A.js" in case only`},
		{"a configuration", map[string]string{"index.html": "x", "nginx.conf": "x"}, ServeOptions{},
			`"nginx.conf": it is published, and configures nothing`},
		{"relative files", map[string]string{"index.html": "<script src=./a.js></script>", "a.js": "x"}, ServeOptions{},
			`"index.html": it names files relatively: from an address of several parts they are not found; build with an absolute base`},
		{"an environment nobody loads", map[string]string{"index.html": "x"}, ServeOptions{RuntimeEnv: []string{"A"}},
			`"index.html": no page loads /env.js, where the variables of the container will be`},
		{"an environment", map[string]string{"index.html": "<script src=/env.js></script>"},
			ServeOptions{RuntimeEnv: []string{"A"}}, ""},
	} {
		if _, a := analyse(t, tt.files, tt.o); warnings(a) != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, warnings(a), tt.want)
		}
	}
}

func TestWarningsOfOneSortAreFew(t *testing.T) {
	files := map[string]string{"index.html": "x"}
	for _, c := range "abcdefghij" {
		files[string(c)+".js"] = `"http://localhost:1"`
	}
	_, a := analyse(t, files, ServeOptions{})
	if len(a.Warnings) != maxTold || !strings.HasSuffix(warnings(a), "(and 5 more)") {
		t.Errorf("warnings:\n%s", warnings(a))
	}
}
