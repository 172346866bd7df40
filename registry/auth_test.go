package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/decant-build/decant/registry/registrytest"
)

func TestParseChallenges(t *testing.T) {
	tests := []struct {
		in   string
		want []challenge
	}{
		{"", nil},
		{`Basic realm="x"`, []challenge{{"basic", map[string]string{"realm": "x"}}}},
		{`Bearer realm="https://a/t",service="s,t", scope="repository:a:pull,push"`, []challenge{
			{"bearer", map[string]string{"realm": "https://a/t", "service": "s,t", "scope": "repository:a:pull,push"}}}},
		{`Negotiate, Basic realm=plain, Bearer realm="q\"uote"`, []challenge{
			{"negotiate", map[string]string{}}, {"basic", map[string]string{"realm": "plain"}},
			{"bearer", map[string]string{"realm": `q"uote`}}}},
		{`Bearer realm="unclosed`, []challenge{{"bearer", map[string]string{"realm": "unclosed"}}}},
		{`= , =`, nil},
	}
	for _, tt := range tests {
		if got := parseChallenges(tt.in); !slices.EqualFunc(got, tt.want, func(a, b challenge) bool {
			return sprintf("%v", a) == sprintf("%v", b)
		}) {
			t.Errorf("%q: %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestTokensAreShared(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Token: true, User: "u", Password: "p"})
	c, _ := newClient(t, Options{Keychain: keys{"u", "p"}})
	push(t, c, baseIndex(t, 1000, 4), r.Host+"/base:1")
	if n := r.Count("", "/token"); n != 1 {
		t.Errorf("%d tokens for one push", n)
	}
	c, _ = newClient(t, Options{Keychain: keys{"u", "p"}})
	base := pull(t, c, r.Host+"/base:1")
	r.Reset()
	push(t, c, siteIndex(t, base.Index, layerOf(t, 1)), r.Host+"/web:1")
	if n := r.Count("", "/token"); n != 1 {
		t.Errorf("%d tokens for a push with mounts", n)
	}
}

func TestTokenIsRenewedBeforeItEnds(t *testing.T) {
	g, err := readToken(strings.NewReader(`{"access_token":"x","expires_in":300}`), time.Unix(1000, 0))
	if err != nil || g.header != "Bearer x" || g.expires != time.Unix(1290, 0) {
		t.Errorf("%+v %v", g, err)
	}
	for _, bad := range []string{"", "{}", `{"token":"a\r\nb"}`, "<html>"} {
		if _, err := readToken(strings.NewReader(bad), time.Now()); err == nil {
			t.Errorf("%q is a token", bad)
		}
	}
}

func TestIdentityTokenIsExchanged(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Token: true, User: "u", Password: "identity"})
	c, _ := newClient(t, Options{Keychain: identity{}})
	push(t, c, ociImage(t, 10, 1), r.Host+"/a:1")
	if n := r.Count("POST", "/token"); n != 1 {
		t.Errorf("%d exchanges", n)
	}
}

type identity struct{}

func (identity) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig{IdentityToken: "identity"}), nil
}

func TestPublicImageIsPulledDespiteAStalePassword(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Token: true, User: "u", Password: "p", Public: []string{"a"}})
	good, _ := newClient(t, Options{Keychain: keys{"u", "p"}})
	push(t, good, ociImage(t, 10, 1), r.Host+"/a:1")
	c, log := newClient(t, Options{Keychain: keys{"u", "stale"}})
	pull(t, c, r.Host+"/a:1")
	if !log.has("refused the credential from the caller's keychain") {
		t.Errorf("log %q", log.all)
	}
	target, err := c.Target(r.Host + "/a:2")
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Push(context.Background(), ociImage(t, 10, 1))
	if statusOf(err) != 401 || !strings.Contains(hintOf(err), "the credential came from the caller's keychain") {
		t.Errorf("%v, hint %q", err, hintOf(err))
	}
}

func TestPushWithoutACredentialSaysHowToLogIn(t *testing.T) {
	for _, token := range []bool{false, true} {
		r := registrytest.New(t, registrytest.Options{Token: token, User: "u", Password: "p"})
		c, _ := newClient(t, Options{})
		target, err := c.Target(r.Host + "/a:1")
		if err != nil {
			t.Fatal(err)
		}
		err = target.Check(context.Background())
		want := "no credential was found for it: decant login " + r.Host
		if statusOf(err) != 401 || hintOf(err) != want {
			t.Errorf("%v, hint %q", err, hintOf(err))
		}
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{User: "user", Password: "hunter2", RedirectBlobs: true})
	c, log := newClient(t, Options{Keychain: keys{"user", "wrong-hunter"}})
	_, err := c.Pull(context.Background(), r.Host+"/a:1")
	text := err.Error() + hintOf(err) + strings.Join(log.all, "\n")
	for _, secret := range []string{"wrong-hunter", base64.StdEncoding.EncodeToString([]byte("user:wrong-hunter"))} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %q", secret, text)
		}
	}
}

// roundTrip lets a test play any host.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, header map[string]string, body string) *http.Response {
	w := httptest.NewRecorder()
	for k, v := range header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(status)
	w.Body.WriteString(body)
	return w.Result()
}

func TestCredentialsGoNowhereElse(t *testing.T) {
	const bearer = `Bearer realm="%s",service="s"`
	tests := []struct {
		name, realm, redirect string
		err                   string
	}{
		{"token server on http", "http://auth.example.com/token", "", "refusing to send credentials over http"},
		{"token server nowhere", "file:///etc/passwd", "", "no usable token server"},
		{"redirect to http", "https://auth.example.com/token", "http://evil.example.com/x", "refusing a redirect"},
		{"redirect to another host", "https://auth.example.com/token", "https://cdn.example.com/x", ""},
		{"redirect to a subdomain", "https://auth.example.com/token", "https://sub.registry.example.com/x", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rt := func(r *http.Request) (*http.Response, error) {
				auth := r.Header.Get("Authorization")
				switch {
				case r.URL.Scheme != "https":
					t.Errorf("a request to %s", r.URL)
				case r.URL.Host == "auth.example.com":
					return answer(200, nil, `{"token":"tok"}`), nil
				case r.URL.Host != "registry.example.com" && auth != "":
					t.Errorf("%s got %q", r.URL.Host, auth)
				case r.URL.Path == "/v2/":
					return answer(401, map[string]string{"WWW-Authenticate": sprintf(bearer, tt.realm)}, ""), nil
				case r.URL.Host == "registry.example.com" && auth != "Bearer tok":
					t.Errorf("the registry got %q", auth)
				case r.URL.Host == "registry.example.com":
					return answer(307, map[string]string{"Location": tt.redirect}, ""), nil
				}
				return answer(404, nil, ""), nil
			}
			c, _ := newClient(t, Options{Keychain: keys{"u", "p"}, Transport: roundTrip(rt)})
			_, err := c.Pull(context.Background(), "registry.example.com/a:1")
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestPlainHTTPOnlyWhereAllowed(t *testing.T) {
	rt := roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme == "https" {
			return nil, http.ErrSchemeMismatch
		}
		return answer(404, nil, ""), nil
	})
	tests := []struct {
		host    string
		allowed bool
	}{
		{"registry.example.com", false}, {"10.0.0.1:5000", false}, {"registry.local:5000", false},
		{"localhost:5000", true}, {"127.9.9.9:5000", true}, {"[::1]:5000", true}, {"a.localhost", true},
		{"named.example.com:5000", true},
	}
	for _, tt := range tests {
		c, _ := newClient(t, Options{Transport: rt, Insecure: []string{"named.example.com:5000"}})
		_, err := c.Pull(context.Background(), tt.host+"/a:1")
		// A 404 of the ping means that http was spoken.
		if got := statusOf(err) == 404; got != tt.allowed {
			t.Errorf("%s: %v", tt.host, err)
		}
		if !tt.allowed && !strings.Contains(hintOf(err), "--insecure-registry "+tt.host) {
			t.Errorf("%s: hint %q", tt.host, hintOf(err))
		}
	}
}

func auth(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

func writeJSON(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKeychainFindsTheBestSource(t *testing.T) {
	entry := func(key, user string) string {
		return sprintf(`{"auths":{%q:{"auth":%q}}}`, key, auth(user, "p"))
	}
	tests := []struct {
		name              string
		env, docker       string
		file, run, config string
		host, repo        string
		want              string
	}{
		{name: "nothing", host: "r", want: ""},
		{name: "docker", docker: entry("r", "docker"), file: entry("r", "file"), host: "r", want: "docker"},
		{name: "environment", env: entry("r", "env"), docker: entry("r", "docker"), host: "r", want: "env"},
		{name: "next file", docker: entry("other", "x"), file: entry("r", "file"), host: "r", want: "file"},
		{name: "podman's run directory", run: entry("r", "run"), config: entry("r", "config"), host: "r", want: "run"},
		{name: "podman's config", config: entry("r", "config"), host: "r", want: "config"},
		{name: "Docker Hub's key", docker: entry(hubKey, "hub"), host: "index.docker.io", want: "hub"},
		{name: "Docker Hub in podman", run: entry("docker.io", "hub"), host: "index.docker.io", want: "hub"},
		{name: "a URL as key", docker: entry("https://r/v1/", "url"), host: "r", want: "url"},
		{name: "a namespace", run: `{"auths":{"r":{"auth":"` + auth("all", "p") + `"},"r/ns":{"auth":"` +
			auth("ns", "p") + `"}}}`, host: "r", repo: "ns/web", want: "ns"},
		{name: "an empty entry", docker: `{"auths":{"r":{}}}`, run: entry("r", "run"), host: "r", want: "run"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			isolate(t)
			t.Setenv("DOCKER_AUTH_CONFIG", tt.env)
			if tt.file != "" {
				t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(t.TempDir(), "auth.json"))
				writeJSON(t, os.Getenv("REGISTRY_AUTH_FILE"), tt.file)
			}
			for dir, text := range map[string]string{
				filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"):               tt.docker,
				filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json"): tt.run,
				filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "containers", "auth.json"): tt.config,
			} {
				if text != "" {
					writeJSON(t, dir, text)
				}
			}
			k := newKeychain(nil, func(string, ...any) {})
			got, err := k.lookup(context.Background(), place{tt.host, tt.repo})
			if err != nil || got.Username != tt.want || (got.source == "") != (tt.want == "") {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

func TestKeychainErrorsHoldNoSecret(t *testing.T) {
	isolate(t)
	for _, text := range []string{`{"auths":{"r":{"auth":"hunter2`, `{"auths":{"r":{"auth":"hunter2"}}}`,
		`{"auths":{"r":"hunter2"}}`} {
		writeJSON(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), text)
		k := newKeychain(nil, func(string, ...any) {})
		_, err := k.lookup(context.Background(), place{"r", ""})
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// helperScript keeps one secret in a file, as a credential helper.
const helperScript = `#!/bin/sh
case "$1" in
store) cat > "$HELPER_FILE" ;;
get) if [ -f "$HELPER_FILE" ]; then cat "$HELPER_FILE"; else echo "credentials not found in native keychain"; exit 1; fi ;;
erase) rm -f "$HELPER_FILE" ;;
esac
`

func installHelper(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the helper is a shell script")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(helperScript), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("HELPER_FILE", filepath.Join(dir, "secret"))
}

func TestLoginAndLogout(t *testing.T) {
	for _, token := range []bool{false, true} {
		for _, helper := range []string{"", `"credsStore":"test"`, `"credHelpers":{"HOST":"test"}`} {
			t.Run(sprintf("token %v helper %s", token, helper), func(t *testing.T) {
				r := registrytest.New(t, registrytest.Options{User: "u", Password: "p<w>", Token: token})
				c, _ := newClient(t, Options{})
				installHelper(t)
				config := filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")
				const odd = "\"plugins\" : {\"a\":  {\"b\" : 1.50}}"
				writeJSON(t, config, "{"+strings.TrimSuffix(odd+","+strings.Replace(helper, "HOST", r.Host, 1), ",")+"}")
				ctx := context.Background()
				if err := c.Login(ctx, r.Host, "u", "wrong"); statusOf(err) != 401 ||
					!strings.Contains(hintOf(err), "check user name") {
					t.Errorf("%v, hint %q", err, hintOf(err))
				}
				if err := c.Login(ctx, "https://"+r.Host+"/", "u", "p<w>"); err != nil {
					t.Fatal(err)
				}
				text := readFile(t, config)
				if !strings.Contains(text, `{"a":  {"b" : 1.50}}`) || !json.Valid([]byte(text)) {
					t.Errorf("config %s", text)
				}
				if has := strings.Contains(text, auth("u", "p<w>")); has != (helper == "") {
					t.Errorf("config %s", text)
				}
				if info, err := os.Stat(config); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
					t.Errorf("mode %v %v", info.Mode(), err)
				}
				fresh, log := newClientKeepingEnv(t)
				push(t, fresh, ociImage(t, 10, 1), r.Host+"/a:1")
				if from := map[bool]string{true: config, false: "docker-credential-test"}[helper == ""]; !log.has("credential from " + from) {
					t.Errorf("log %q", log.all)
				}
				for _, known := range []bool{true, false} {
					found, err := c.Logout(t.Context(), r.Host)
					if err != nil || known && !found || !known && found && helper == "" {
						t.Fatalf("found %v, %v", found, err)
					}
				}
				fresh, _ = newClientKeepingEnv(t)
				if _, err := fresh.Pull(ctx, r.Host+"/a:1"); statusOf(err) != 401 {
					t.Errorf("after the logout: %v", err)
				}
				if text := readFile(t, config); strings.Contains(text, r.Host) && !strings.Contains(helper, "HOST") {
					t.Errorf("config %s", text)
				}
			})
		}
	}
}

// newClientKeepingEnv is newClient where the test has set up credentials.
func newClientKeepingEnv(t *testing.T) (*Client, *lines) {
	t.Helper()
	log := &lines{}
	c, err := New(Options{Log: func(format string, args ...any) {
		log.mu.Lock()
		defer log.mu.Unlock()
		log.all = append(log.all, sprintf(format, args...))
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.timing.pause = time.Millisecond
	return c, log
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLoginMakesTheConfig(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{User: "u", Password: "p"})
	c, _ := newClient(t, Options{})
	t.Setenv("DOCKER_CONFIG", filepath.Join(t.TempDir(), "new", "dir"))
	if err := c.Login(context.Background(), r.Host, "u", "p"); err != nil {
		t.Fatal(err)
	}
	want := sprintf("{\n\t\"auths\": {\n\t\t%q: {\"auth\":%q}\n\t}\n}\n", r.Host, auth("u", "p"))
	if got := readFile(t, filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")); got != want {
		t.Errorf("config %q, want %q", got, want)
	}
}

func TestLoginRefusesWhatIsNoHost(t *testing.T) {
	c, _ := newClient(t, Options{})
	for _, host := range []string{"", "a b", "https://", "-u:x:y"} {
		err := c.Login(context.Background(), host, "u", "p")
		if _, ok := err.(*RefError); !ok {
			t.Errorf("%q: %v", host, err)
		}
	}
}
