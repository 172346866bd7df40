package site

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// verdict is what the rules say of a path: what nginx would send.
func verdict(a *Analysis, name string) bool {
	if isPlain(name) {
		return false
	}
	for _, r := range a.Rules {
		// Go has no look-ahead; the one that is used excludes a directory.
		p, ahead := r.Pattern, strings.Contains(r.Pattern, "(?!builds/)")
		p = strings.Replace(p, "(?!builds/)", "", 1)
		if regexp.MustCompile("^"+p).MatchString("/"+name) && !(ahead && strings.HasPrefix(name, "_nuxt/builds/")) {
			return r.Immutable
		}
	}
	return false
}

func judged(t *testing.T, names ...string) *Analysis {
	t.Helper()
	a := &Analysis{}
	var files []file
	for _, n := range names {
		files = append(files, file{path: n})
	}
	a.judgeNames(files, nil, nil)
	return a
}

func TestHashedNamesOfEveryBundlerAreImmutable(t *testing.T) {
	for bundler, names := range map[string]string{
		"vite":      "assets/index-BxK3fQp1.js assets/index-D8b4DHJx.css assets/react-CHdo91hT.svg assets/vendor-_x-3Ab9Z.js",
		"cra":       "static/js/main.8f3ab2c1.js static/js/787.28cb0dcd.chunk.js static/css/main.f855e6bc.css static/js/main.8f3ab2c1.js.map static/media/logo.6ce24c58023cc2f8fd88fe9d219db6c6.svg",
		"angular":   "main-VQ7GUW5B.js chunk-5OPE3T2R.js styles-5INURTSO.css media/inter-3JGT5EXA.woff2",
		"angular16": "main.3a1f0e7cbd8e2f10.js polyfills.fdaa14aa9967abe5.js",
		"next":      "_next/static/chunks/main-app-0123456789abcdef.js _next/static/xYz/_buildManifest.js",
		"nuxt":      "_nuxt/BxK3fQp1.js _nuxt/entry.DbX3.css _nuxt/builds-not.js",
		"kit":       "_app/immutable/chunks/BxK3fQp1.js _app/immutable/entry/app.D1.js",
		"astro":     "_astro/index.BxK3fQp1.css",
		"gatsby":    "app-9d7f1ab4e0c3d5a6b7f8.js webpack-runtime-0a1b2c3d4e5f6a7b8c9d.js",
		"parcel":    "index.a1b2c3d4.js index.f00dcafe.css index.0fb6d1ae.js.map",
		"docs":      "assets/js/main.1a2b3c4d.js assets/images/x-0123456789abcdef0123456789abcdef.png",
		"vue-cli":   "js/app.3c1f0e7c.js css/app.1a2b3c4d.css",
		"license":   "static/js/main.8f3ab2c1.js.LICENSE.txt static/js/main.8f3ab2c1.js",
	} {
		list := strings.Fields(names)
		a := judged(t, list...)
		if a.Hashed != len(list) {
			t.Errorf("%s: %d of %d names are hashed", bundler, a.Hashed, len(list))
		}
		for _, name := range list {
			if !verdict(a, name) {
				t.Errorf("%s: %q is not immutable by %+v", bundler, name, a.Rules)
			}
		}
	}
}

func TestOrdinaryNamesAreNotImmutable(t *testing.T) {
	neighbours := []string{"assets/index-BxK3fQp1.js", "assets/a-D8b4DHJx.css", "assets/b-CHdo91hT.svg",
		"main.8f3ab2c1.js", "runtime.1a2b3c4d.js"}
	for _, name := range []string{
		"assets/company-background.png", "assets/hero-portrait.jpg", "assets/report-20240131.pdf",
		"assets/some-MyComponent.js", "assets/photo-IPHONE15.png", "assets/a-VERYLONG.png",
		"index.html", "assets/page-BxK3fQp1.html", "sw.js", "service-worker.js", "ngsw-worker.js", "ngsw.json",
		"site.webmanifest", "assets/manifest-BxK3fQp1.webmanifest", "firebase-messaging-sw.js",
		"version.json", "robots.txt", "env.js", "asset-manifest.json", "manifest.12345678.txt",
		"_nuxt/builds/latest.json", "_app/version.json", "assets/index-BxK3fQp1", "assets/favicon.ico",
		"assets/documentation.pdf", "assets/fontawesome.woff2", "bootstrap.bundle.min.js", "jquery-3.7.1.min.js",
		"assets/team-member-portrait.jpg", "lib/isES2015Module.js", "lib/getJSXElement.js", "assets/logo-iPhoneX.png",
		"vendor/fooBarV2.js", "node/maxNestingDepth.js", "isIE8orX.js", "demo-web3auth.js", "a.isXMLDoc.js", "registerSW.js", "assets/release-notes.md", "fonts/opensans.woff2",
	} {
		if a := judged(t, append([]string{name}, neighbours...)...); verdict(a, name) {
			t.Errorf("%q is immutable by %+v", name, a.Rules)
		}
		if a := judged(t, name); verdict(a, name) {
			t.Errorf("alone, %q is immutable by %+v", name, a.Rules)
		}
	}
}

func TestRegisteredServiceWorkersAreNeverImmutable(t *testing.T) {
	_, a := analyse(t, map[string]string{
		"index.html":                "x",
		"assets/main-BxK3fQp1.js":   `navigator.serviceWorker.register("/assets/worker-D8b4DHJx.js",{})`,
		"assets/worker-D8b4DHJx.js": "x",
	}, ServeOptions{})
	if verdict(a, "assets/worker-D8b4DHJx.js") || !verdict(a, "assets/main-BxK3fQp1.js") {
		t.Errorf("rules %+v", a.Rules)
	}
}

func TestNearlyAllRandomHashesAreFoundAmongTheirKind(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for alphabet, length := range map[string]int{
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-": 8,
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567":                                 8,
		"0123456789abcdef":                                                 8,
		"0123456789abcdef.":                                                20,
	} {
		var names []string
		for range 300 {
			tok := make([]byte, length)
			for i := range tok {
				tok[i] = strings.TrimSuffix(alphabet, ".")[random.IntN(len(strings.TrimSuffix(alphabet, ".")))]
			}
			names = append(names, "assets/chunk-"+string(tok)+".js")
		}
		a := judged(t, names...)
		missed := 0
		for _, n := range names {
			if !verdict(a, n) {
				missed++
			}
		}
		if missed > 12 {
			t.Errorf("of 300 names of %d from %s, %d are not immutable by %+v", length, alphabet, missed, a.Rules)
		}
	}
}

func TestRulesDoNotDependOnTheOrderOfFiles(t *testing.T) {
	names := []string{"a-BxK3fQp1.js", "b.8f3ab2c1.js", "assets/x-D8b4DHJx.js", "assets/a-background.js",
		"assets/y.0123abcd.css", "z/BxK3fQp1.js"}
	want := judged(t, names...).Rules
	for range 20 {
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		got := judged(t, names...).Rules
		if len(got) != len(want) {
			t.Fatalf("%v\n%v", got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%v\n%v", got, want)
			}
		}
	}
}

func TestWhatAPageLoadsNeedsNoNeighbours(t *testing.T) {
	// None of these is a word, and none has signs enough alone.
	_, a := analyse(t, map[string]string{
		"index.html": `<script type=module src="/assets/index-DxABcdab.js"></script><link rel=stylesheet ` +
			`href="/assets/index-abCDefgh.css"><script src="/assets/init-greeting.js"></script>`,
		"assets/index-DxABcdab.js": "x", "assets/index-abCDefgh.css": "x", "assets/init-greeting.js": "x",
	}, ServeOptions{})
	for name, want := range map[string]bool{
		"assets/index-DxABcdab.js": true, "assets/index-abCDefgh.css": true, "assets/init-greeting.js": false,
	} {
		if verdict(a, name) != want {
			t.Errorf("%q is immutable: %v, by %+v", name, !want, a.Rules)
		}
	}
}
