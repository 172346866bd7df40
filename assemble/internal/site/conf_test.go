package site

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func configFile(user string, entrypoint, cmd []string, ports ...string) v1.ConfigFile {
	c := v1.ConfigFile{Config: v1.Config{User: user, Entrypoint: entrypoint, Cmd: cmd}}
	c.Config.ExposedPorts = map[string]struct{}{}
	for _, p := range ports {
		c.Config.ExposedPorts[p] = struct{}{}
	}
	return c
}

func TestDetectKnowsNginxByWhatItExecutes(t *testing.T) {
	hook, run := []string{"/docker-entrypoint.sh"}, []string{"nginx", "-g", "daemon off;"}
	tests := []struct {
		name   string
		config v1.ConfigFile
		want   Server
		ok     bool
	}{
		{"official", configFile("", hook, run, "80/tcp"), Server{Port: 80, Hooks: true}, true},
		{"unprivileged", configFile("101", hook, run, "8080/tcp"), Server{Port: 8080, User: "101", Hooks: true}, true},
		{"debug", configFile("", hook, []string{"nginx-debug"}, "80/tcp"), Server{Port: 80, Hooks: true}, true},
		{"guide", configFile("nginx", []string{"nginx", "-c", "/etc/nginx/nginx.conf"}, []string{"-g", "daemon off;"},
			"8080/tcp"), Server{Port: 8080, User: "nginx"}, true},
		{"no entrypoint", configFile("", nil, run), Server{Port: 80}, true},
		{"no port, a user", configFile("65532", []string{"/usr/sbin/nginx"}, nil), Server{Port: 8080, User: "65532"}, true},
		{"shell form", configFile("", nil, []string{"/bin/sh", "-c", "exec nginx -g 'daemon off;'"}, "443/tcp", "80/tcp"),
			Server{Port: 80}, true},
		{"another configuration", configFile("", []string{"nginx", "-c", "/srv/x.conf"}, nil), Server{}, false},
		{"the same in a shell", configFile("", nil, []string{"sh", "-c", "nginx -c /srv/x.conf"}), Server{}, false},
		{"another server", configFile("", nil, []string{"httpd-foreground"}, "80/tcp"), Server{}, false},
		{"node", configFile("", []string{"docker-entrypoint.sh"}, []string{"node"}), Server{}, false},
		{"bitnami", configFile("1001", []string{"/opt/bitnami/scripts/nginx/entrypoint.sh"},
			[]string{"/opt/bitnami/scripts/nginx/run.sh"}), Server{}, false},
		{"a test", configFile("", nil, []string{"sh", "-c", "echo nginx"}), Server{}, false},
		{"nothing", v1.ConfigFile{}, Server{}, false},
	}
	for _, tt := range tests {
		got, ok := Detect(tt.config)
		if ok != tt.ok || got != tt.want {
			t.Errorf("%s: %+v %v, want %+v %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestDetectFindsTheBasesOwnConfiguration(t *testing.T) {
	for line, own := range map[string]bool{
		"COPY nginx.conf /etc/nginx/conf.d/default.conf # buildkit": true,
		"/bin/sh -c #(nop) COPY file:4ef in /etc/nginx/nginx.conf ": true,
		"ADD conf /etc/nginx/": true,
		"COPY 20-envsubst-on-templates.sh /docker-entrypoint.d # buildkit":           false,
		"RUN /bin/sh -c set -x && apt-get install nginx && ls /etc/nginx # buildkit": false,
		"COPY --from=build /app/dist /usr/share/nginx/html # buildkit":               false,
	} {
		c := configFile("", nil, []string{"nginx"})
		c.History = []v1.History{{CreatedBy: line}, {CreatedBy: "CMD nginx", EmptyLayer: true}}
		got, _ := Detect(c)
		if (got.OwnConf == line) != own {
			t.Errorf("%q: own configuration %q", line, got.OwnConf)
		}
	}
}

func TestListenSuitsTheUser(t *testing.T) {
	root, other := Server{Port: 80}, Server{Port: 8080, User: "101"}
	for _, tt := range []struct {
		s    Server
		o    ServeOptions
		want int
	}{
		{root, ServeOptions{}, 80}, {root, ServeOptions{User: "0:0"}, 80}, {root, ServeOptions{User: "101"}, 8080},
		{root, ServeOptions{User: "nginx:nginx", Port: 81}, 81}, {other, ServeOptions{}, 8080},
		{other, ServeOptions{User: "65532"}, 8080}, {Server{Port: 9000}, ServeOptions{User: "101"}, 9000},
	} {
		if got := tt.s.Listen(tt.o); got != tt.want {
			t.Errorf("%+v with %+v listens on %d, want %d", tt.s, tt.o, got, tt.want)
		}
	}
}

func TestValidateRefusesWhatCannotBeWritten(t *testing.T) {
	for _, o := range []ServeOptions{
		{Mode: "spa"}, {FrameworkHint: "x"}, {Port: -1}, {Port: 65536},
		{BasePath: "shop"}, {BasePath: "/a b/"}, {BasePath: "/../x/"}, {BasePath: "/a//b/"}, {BasePath: "/.git/"},
		{BasePath: `/a;}/`}, {BasePath: "/$uri/"},
		{Headers: []Header{{"A b", "x"}}}, {Headers: []Header{{"", "x"}}}, {Headers: []Header{{"X", "a\nb"}}},
		{Headers: []Header{{"X", "$host"}}}, {Headers: []Header{{"Cache-Control", "x"}}},
		{Headers: []Header{{"X", "1"}, {"x", "2"}}}, {Headers: []Header{{"X", strings.Repeat("x", 3001)}}},
		{CSP: "x", Headers: []Header{{"Content-Security-Policy", "y"}}}, {CSP: "default-src\n'self'"}, {CSP: "a $b"},
		{Proxies: []Proxy{{"api", "http://x"}}}, {Proxies: []Proxy{{"/", "http://x"}}},
		{Proxies: []Proxy{{"/healthz", "http://x"}}}, {Proxies: []Proxy{{"/env.js", "http://x"}}},
		{Proxies: []Proxy{{"/a", "http://x"}, {"/a/", "http://y"}}}, {Proxies: []Proxy{{"/a", "ftp://x"}}},
		{Proxies: []Proxy{{"/a", "http://u:p@x"}}}, {Proxies: []Proxy{{"/a", "http://x?q"}}},
		{Proxies: []Proxy{{"/a", "http://x#f"}}}, {Proxies: []Proxy{{"/a", "http://"}}},
		{Proxies: []Proxy{{"/a", "http://x;y"}}}, {Proxies: []Proxy{{"/a", "http://x/$y"}}},
		{Proxies: []Proxy{{"/a", "http://x:99999"}}}, {Proxies: []Proxy{{"/a", "http://x/ y"}}},
		{BasePath: "/shop/", Proxies: []Proxy{{"/shop", "http://x"}}},
		{RuntimeEnv: []string{""}}, {RuntimeEnv: []string{"*"}}, {RuntimeEnv: []string{"A-B"}},
		{RuntimeEnv: []string{"A*B"}}, {RuntimeEnv: []string{"1A"}}, {RuntimeEnv: []string{"A\nrm"}},
	} {
		var option *OptionError
		if err := o.Validate(); !errors.As(err, &option) || option.Hint() == "" {
			t.Errorf("%+v: %v", o, err)
		}
	}
	good := ServeOptions{Mode: Auto, FrameworkHint: MultiPage, Port: 8080, BasePath: "/a/b.c",
		Headers: []Header{{"X-A", `"x" \ ;{}`}}, CSP: "default-src 'self'; img-src *",
		Proxies:    []Proxy{{"/api", "http://backend:3000"}, {"/b/", "https://[::1]:8443/x/"}},
		RuntimeEnv: []string{"APP_*", "_X", "A1"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

// shape is a configuration without what a user chose: the names of its directives.
func shape(t *testing.T, conf string) []string {
	t.Helper()
	directives, fault := parseConf(conf)
	if fault != nil {
		t.Fatalf("line %d: %s\n%s", fault.Line, fault.What, conf)
	}
	var names []string
	for _, d := range directives {
		if len(d.in) > 0 && d.in[0] == "map" {
			continue // its words are keys
		}
		names = append(names, fmt.Sprint(d.in, d.words[0], len(d.words), d.block))
	}
	return names
}

func FuzzNoValueBecomesADirective(f *testing.F) {
	f.Add("x", "/api", "http://x", "/shop/", "default-src 'self'", "assets/a-BxK3fQp1.js")
	f.Add(`"; } server { listen 1; } #`, `/a; }`, "http://x/;}", `/a"/`, `"; x {`, `a";}/b-BxK3fQp1.js`)
	f.Add(`\`, `/a\`, `http://x/\`, `/\/`, `a\`, "\\\n\"-BxK3fQp1.js")
	f.Fuzz(func(t *testing.T, value, proxyPath, url, base, csp, name string) {
		plain := ServeOptions{Headers: []Header{{"X-A", "x"}}, CSP: "x", BasePath: "/b/",
			Proxies: []Proxy{{"/api", "http://x"}}}
		hostile := ServeOptions{Headers: []Header{{"X-A", value}}, CSP: csp, BasePath: base,
			Proxies: []Proxy{{proxyPath, url}}}
		if hostile.Validate() != nil || value == "" || csp == "" || csp == CSPAuto || hostile.base() == "/" {
			return
		}
		if strings.HasPrefix(url, "https:") {
			plain.Proxies[0].URL = "https://x"
		}
		a := &Analysis{WebRoot: root, Mode: SinglePage, Fallback: "index.html"}
		a.judgeNames([]file{{path: name}, {path: "a/b-BxK3fQp1.js"}, {path: "a/word-" + name + ".js"}}, nil, nil)
		want, err := Config(a, Server{Port: 80}, plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Config(a, Server{Port: 80}, hostile)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(shape(t, want), shape(t, got)); diff != "" {
			t.Errorf("another structure (-want +got):\n%s", diff)
		}
		directives, _ := parseConf(got)
		sent := slices.ContainsFunc(directives, func(d directive) bool {
			return slices.Equal(d.words, []string{"add_header", "X-A", value, "always"})
		})
		if !sent {
			t.Errorf("%q is not sent by\n%s", value, got)
		}
	})
}

func FuzzPolicyNamesNothingButWhatThePageHas(f *testing.F) {
	f.Add("<script>a</script><script src='https://x.test/a;script-src *'></script>")
	f.Add("<link rel=stylesheet href=\"https://x.test/'unsafe-inline'\"><img onerror=\"a()\">")
	f.Fuzz(func(t *testing.T, html string) {
		p := readPage([]byte(html))
		a := &Analysis{WebRoot: root, Mode: MultiPage, Pages: []Page{{Path: "index.html", Scripts: p.scripts,
			Handlers: p.handlers, Styles: p.styles}}}
		conf, err := Config(a, Server{Port: 80}, ServeOptions{CSP: CSPAuto})
		if err != nil {
			return // too many
		}
		shape(t, conf)
		policy := a.policy(&a.Pages[0])
		if n := strings.Count(policy, ";"); n != 13 || strings.ContainsAny(policy, "\"\n$,\\") {
			t.Errorf("policy %q", policy)
		}
	})
}

func TestConfigIsTheSameForEqualInput(t *testing.T) {
	o := ServeOptions{CSP: CSPAuto, RuntimeEnv: []string{"B", "A_*"}}
	var last string
	for range 3 {
		_, a := analyse(t, spa, o)
		// An analysis may be kept as JSON.
		data, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var kept Analysis
		if err := json.Unmarshal(data, &kept); err != nil {
			t.Fatal(err)
		}
		conf, err := Config(&kept, Server{Port: 80}, o)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" && conf != last {
			t.Fatal(cmp.Diff(last, conf))
		}
		last = conf
	}
}

func TestFilesNeedHooksForTheEnvironment(t *testing.T) {
	_, a := analyse(t, spa, ServeOptions{})
	_, err := Files(a, Server{Port: 80}, ServeOptions{RuntimeEnv: []string{"A"}})
	var option *OptionError
	if !errors.As(err, &option) || option.Option != "RuntimeEnv" {
		t.Errorf("Files = %v", err)
	}
}

func TestModeFollowsTheFiles(t *testing.T) {
	for _, tt := range []struct {
		files    string
		o        ServeOptions
		mode     Mode
		fallback string
	}{
		{"index.html a.js", ServeOptions{}, SinglePage, "index.html"},
		{"index.html 404.html", ServeOptions{}, MultiPage, ""},
		{"index.html 404.html", ServeOptions{FrameworkHint: SinglePage}, SinglePage, "index.html"},
		{"index.html a/index.html", ServeOptions{}, MultiPage, ""},
		{"index.html a/index.html", ServeOptions{FrameworkHint: SinglePage}, SinglePage, "index.html"},
		{"index.html", ServeOptions{FrameworkHint: MultiPage}, MultiPage, ""},
		{"index.html", ServeOptions{Mode: MultiPage}, MultiPage, ""},
		{"index.html a.html", ServeOptions{Mode: SinglePage}, SinglePage, "index.html"},
		{"index.html 200.html", ServeOptions{FrameworkHint: SinglePage}, MultiPage, "200.html"},
		{"index.html 200.html", ServeOptions{Mode: MultiPage}, MultiPage, ""},
		{"200.html", ServeOptions{Mode: SinglePage}, SinglePage, "200.html"},
		{"a.js", ServeOptions{}, MultiPage, ""},
	} {
		files := map[string]string{}
		for _, name := range strings.Fields(tt.files) {
			files[name] = "x"
		}
		_, a := analyse(t, files, tt.o)
		if a.Mode != tt.mode || a.Fallback != tt.fallback || a.Why == "" {
			t.Errorf("%s with %+v: %s, %q, because %s", tt.files, tt.o, a.Mode, a.Fallback, a.Why)
		}
	}
}

// TestConfigOfAnOrdinarySite shows the file as users see it; -update writes it anew.
func TestConfigOfAnOrdinarySite(t *testing.T) {
	_, a := analyse(t, map[string]string{
		"index.html":               `<script type=module src="/assets/index-BxK3fQp1.js"></script><script>boot()</script>`,
		"assets/index-BxK3fQp1.js": "x", "assets/company-portrait.png": "x",
	}, ServeOptions{})
	conf, err := Config(a, Server{Port: 8080, User: "101", Hooks: true}, ServeOptions{CSP: CSPAuto,
		RuntimeEnv: []string{"APP_*"}, Proxies: []Proxy{{"/api", "http://backend:3000"}}})
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "default.conf")
	if *update {
		if err := os.WriteFile(golden, []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), conf); diff != "" {
		t.Errorf("with -update it is written anew (-want +got):\n%s", diff)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")
