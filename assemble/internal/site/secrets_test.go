package site

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
)

// Written in pieces, so that no scanner takes this file for a leak.
var (
	realKey = "-----BEGIN " + "RSA PRIVATE KEY-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA", 4) + "\n"
	secrets = map[string]string{
		"GitHub":    "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
		"npm":       "np" + "m_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
		"GitLab":    "gl" + "pat-" + "a1B2c3D4e5-6g7H8i9J0",
		"Stripe":    "sk_" + "live_" + "a1B2c3D4e5F6g7H8i9J0k1L2",
		"AWS":       "AK" + "IA" + "Q3EGUZ7TWLZHSJ6Q",
		"Slack":     "xo" + "xb-" + "123456789012-abcdefghijkl-A1b2",
		"SendGrid":  "S" + "G." + "a1B2c3D4e5F6g7H8i9J0kL.a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V",
		"registry":  "//registry.npmjs.org/:_auth" + "Token=0b79bab3-8d4b-4f6e-9a52-1f2e3d4c5b6a",
		"private k": realKey,
		"a private": strings.ReplaceAll(realKey, "\n", `\n`),
	}
)

func search(t *testing.T, text string) *report {
	t.Helper()
	var out report
	if err := new(reader).search(strings.NewReader(text), &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestSearchFindsTokensOfServices(t *testing.T) {
	for what, secret := range secrets {
		for _, text := range []string{secret, `const k="` + secret + `";`, "x\ny\n" + secret + "\nz"} {
			got := search(t, text).secrets
			if len(got) != 1 || !strings.Contains(got[0].What, what) {
				t.Errorf("%s: found %v", what, got)
			} else if want := 1 + strings.Count(text[:strings.Index(text, secret)], "\n"); got[0].Line != want {
				t.Errorf("%s: found in line %d, want %d", what, got[0].Line, want)
			}
		}
	}
}

func TestSearchPassesWhatOnlyLooksAlike(t *testing.T) {
	for _, text := range []string{
		`"-----BEGIN RSA PRIVATE KEY-----"`, "`-----BEGIN PRIVATE KEY-----\\n${body}\\n-----END PRIVATE KEY-----`",
		"-----BEGIN CERTIFICATE-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA", 4),
		"npm_config_registry_for_all_the_users_of_it_1", "my_ghp_" + strings.Repeat("a1", 18),
		"ghp_" + strings.Repeat("x", 36), "ghp_YOUR_TOKEN", "sk_live_xxxxxxxxxxxxxxxxxxxxxxxx",
		"pk_live_a1B2c3D4e5F6g7H8i9J0k1L2", "sk_test_a1B2c3D4e5F6g7H8i9J0k1L2", "AKIAIOSFODNN7EXAMPLE",
		"AAKIAQ3EGUZ7TWLZHSJ6Q", "AIzaSyA1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q",
		"//registry.npmjs.org/:_authToken=${NPM_TOKEN}", "_authToken=YOUR_TOKEN", "SG.short.x",
		"task-ant-" + strings.Repeat("a1", 20),
	} {
		if got := search(t, text).secrets; got != nil {
			t.Errorf("%.60q: found %v", text, got)
		}
	}
}

func TestSearchFindsOnceWhatLiesAcrossWindows(t *testing.T) {
	secret := secrets["npm"]
	for _, from := range []int{window - overlap - 60, window - overlap - 20, window - overlap - 1, window - overlap,
		window - 50, window - 20, window - 1, window, 2*window - 2*overlap - 10, 3*window - 17} {
		text := strings.Repeat("a line\n", from/7+1)[:from] + "\"" + secret + "\"" + strings.Repeat(" ", window)
		var out report
		if err := new(reader).search(iotest.HalfReader(strings.NewReader(text)), &out); err != nil {
			t.Fatal(err)
		}
		want := 1 + strings.Count(text[:from], "\n")
		if len(out.secrets) != 1 || out.secrets[0].Line != want {
			t.Errorf("at %d: found %v, want line %d", from, out.secrets, want)
		}
	}
}

func TestSearchTellsOfThisMachine(t *testing.T) {
	for text, want := range map[string]int{
		`fetch("http://localhost:3000/api")`:  1,
		"\n\n" + `x="https://127.0.0.1:8443"`: 3,
		`"http://localhost/api"`:              1,
		`new URL(p,"http://localhost")`:       0,
		`"http://localhost/"`:                 0,
		`"//localhost:3000"`:                  0,
		`"http://localhoster:3000"`:           0,
		`"http://127.0.0.10:3000"`:            0,
	} {
		if got := search(t, text).localhost; got != want {
			t.Errorf("%q: line %d, want %d", text, got, want)
		}
	}
}

func TestSearchUnderstandsScripts(t *testing.T) {
	r := search(t, `document.createElement("style");WebAssembly.instantiate(x);`+
		`navigator.serviceWorker.register('./sw.js');`+"\n//# sourceMappingURL=data:application/json;base64,e30=")
	if !r.makesStyles || !r.wasm || len(r.workers) != 1 || r.workers[0] != "./sw.js" || r.inlineMap != 2 {
		t.Errorf("found %+v", r)
	}
	if r := search(t, `createElement("div")`); r.makesStyles {
		t.Error("a div is a style")
	}
	if r := search(t, "caf\xe9"); !r.legacy {
		t.Error("Latin-1 passes for UTF-8")
	}
	if r := search(t, strings.Repeat("é", window)); r.legacy {
		t.Error("UTF-8 that is cut passes for Latin-1")
	}
}

func FuzzSearchFindsTheSameInWindows(f *testing.F) {
	for _, s := range secrets {
		f.Add([]byte(s), uint16(100))
	}
	f.Fuzz(func(t *testing.T, text []byte, at uint16) {
		if len(text) > overlap/2 {
			return
		}
		var alone, far report
		if err := new(reader).search(bytes.NewReader(text), &alone); err != nil {
			t.Fatal(err)
		}
		before := bytes.Repeat([]byte(" "), window-overlap-int(at)%overlap)
		long := append(append(before, text...), bytes.Repeat([]byte(" "), 2*overlap)...)
		if err := new(reader).search(bytes.NewReader(long), &far); err != nil {
			t.Fatal(err)
		}
		if len(alone.secrets) != len(far.secrets) || alone.localhost != far.localhost || alone.wasm != far.wasm ||
			len(alone.workers) != len(far.workers) {
			t.Errorf("%+v and in a window %+v", alone, far)
		}
	})
}

func BenchmarkSearch(b *testing.B) {
	text := strings.Repeat(`function(e,t){var n=e.createElement("a_b"),r=t-1;return n.x=r/2,"http://www.w3.org/"+A.S(n)}`, 50_000)
	var r reader
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := r.search(strings.NewReader(text), &report{}); err != nil {
			b.Fatal(err)
		}
	}
}
