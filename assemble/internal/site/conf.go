package site

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// Places in the image of what nginx reads.
const (
	confFile     = "etc/nginx/conf.d/default.conf"
	mainConfFile = "etc/nginx/nginx.conf"
	hookFile     = "docker-entrypoint.d/40-decant-env.sh"
	// envFile is where the hook writes, in the one directory that every container can
	// write to, also with a read-only root.
	envFile = "/tmp/decant-env.js"
)

// confData is what the template writes; every field is written as it is.
type confData struct {
	Rules      []CacheRule // with the base path
	EnvPath    string      // "" is none
	EnvPattern string      // a regular expression: as a plain key a long one is more than nginx's table takes
	Policies   []pagePolicy
	Policy     string // of all other pages, quoted; "" is none
	Listen     []string
	Root       string
	Charset    bool
	Brotli     bool
	Headers    []string // name and quoted value
	NotFound   string
	Base, Bare string // with and without a slash at the end; "" when it is "/"
	EnvFile    string
	AppleApp   string
	Proxies    []proxyLocation
	Extensions string
	BaseDir    string // "/" or the base path
	Try        string
	Fallback   string
}

type proxyLocation struct {
	Location, Pass string
	Secure         bool
}

// Config is the text of /etc/nginx/conf.d/default.conf. Equal input gives equal bytes.
func Config(a *Analysis, s Server, o ServeOptions) (string, error) {
	if err := o.Validate(); err != nil {
		return "", err
	}
	d, err := newConfData(a, s, o)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := confTemplate.Execute(&b, d); err != nil {
		return "", fmt.Errorf("writing nginx's configuration: %w", err)
	}
	return b.String(), nil
}

func newConfData(a *Analysis, s Server, o ServeOptions) (*confData, error) {
	base := o.base()
	control := func(r rune) bool { return r < ' ' }
	if strings.Contains(a.WebRoot, "$") || strings.ContainsFunc(a.WebRoot, control) {
		return nil, &OptionError{"WebRoot", a.WebRoot, "nginx cannot be told such a path",
			"choose a plain one"}
	}
	d := &confData{
		Listen:  []string{fmt.Sprint(s.Listen(o))},
		Root:    quoted("/" + a.WebRoot),
		Charset: !a.Legacy,
		Brotli:  o.Brotli,
		BaseDir: base, NotFound: base + "404.html",
	}
	if o.IPv6 {
		d.Listen = append(d.Listen, fmt.Sprintf("[::]:%d", s.Listen(o)))
	}
	if base != "/" {
		d.Base, d.Bare = base, strings.TrimSuffix(base, "/")
	}
	for _, r := range a.Rules {
		r.Pattern = pattern(strings.TrimSuffix(base, "/")) + r.Pattern
		d.Rules = append(d.Rules, r)
	}
	if len(o.RuntimeEnv) > 0 {
		d.EnvPath, d.EnvFile, d.EnvPattern = base+envName, envFile, pattern(base+envName)
	}
	if a.AppleApp {
		d.AppleApp = base + appleApp
	}
	d.serve(a, base)
	if err := d.addPolicy(a, o); err != nil {
		return nil, err
	}
	d.addHeaders(o)
	for _, p := range o.Proxies {
		d.Proxies = append(d.Proxies, proxyLocations(p)...)
	}
	return d, nil
}

// serve says how paths become files.
func (d *confData) serve(a *Analysis, base string) {
	if a.Fallback != "" {
		d.Fallback = base + a.Fallback
		d.Extensions = strings.Join(fileExtensions, "|")
	}
	switch {
	case a.Mode == SinglePage:
		d.Try = "$uri $uri.html $uri/index.html " + d.Fallback
	case a.Fallback != "":
		d.Try = "$uri $uri.html $uri/ " + d.Fallback
	default:
		d.Try = "$uri $uri.html $uri/ =404"
	}
}

// fileExtensions are those of paths that are never an application's own: a browser that
// asks for a script must not get a page.
var fileExtensions = []string{
	"[cm]?js", "css", "map", "json", "wasm", "xml", "txt", "webmanifest", "svgz?", "png", "jpe?g",
	"gif", "webp", "avif", "ico", "bmp", "woff2?", "ttf", "otf", "eot", "mp[34]", "m4[av]", "web[am]",
	"og[agv]", "wav", "pdf", "zip", "gz", "br", "glb", "gltf", "php", "aspx?", "jsp", "cgi",
}

// standardHeaders are sent unless o.Headers says otherwise.
var standardHeaders = []Header{
	{"X-Content-Type-Options", "nosniff"},
	{"Referrer-Policy", "strict-origin-when-cross-origin"},
}

func (d *confData) addHeaders(o ServeOptions) {
	all := slices.Clone(standardHeaders)
	for _, h := range o.Headers {
		all = slices.DeleteFunc(all, func(s Header) bool { return strings.EqualFold(s.Name, h.Name) })
		all = append(all, h)
	}
	for _, h := range all {
		if h.Value != "" {
			d.Headers = append(d.Headers, h.Name+" "+quoted(h.Value))
		}
	}
	switch {
	case len(d.Policies) > 0:
		d.Headers = append(d.Headers, "Content-Security-Policy $decant_policy")
	case d.Policy != "":
		d.Headers = append(d.Headers, "Content-Security-Policy "+d.Policy)
	}
}

// proxyLocations are a proxy's path and what is below it. A location that is a prefix
// would take /apiary for /api.
func proxyLocations(p Proxy) []proxyLocation {
	secure := strings.HasPrefix(p.URL, "https:")
	bare := strings.TrimSuffix(p.Path, "/")
	scheme, rest, _ := strings.Cut(p.URL, "://")
	_, _, hasPath := strings.Cut(rest, "/")
	url := scheme + "://" + rest
	if !hasPath {
		return []proxyLocation{{"= " + bare, url, secure}, {"^~ " + bare + "/", url, secure}}
	}
	target := strings.TrimSuffix(url, "/")
	exact := target
	if strings.Count(target, "/") == 2 {
		exact += "/" // the path of the server's top
	}
	return []proxyLocation{{"= " + bare, exact, secure}, {"^~ " + bare + "/", target + "/", secure}}
}

var confTemplate = template.Must(template.New("default.conf").Parse(
	`# How nginx serves this site. decant wrote this file when it built the image; nothing is
# substituted when the container starts. To serve it otherwise, begin with a copy.

# Types that nginx's own table lacks. Only here, outside of server, do they add to it.
types {
    text/javascript           mjs cjs;
    application/manifest+json webmanifest;
    application/json          map;
    model/gltf-binary         glb;
    model/gltf+json           gltf;
}

# What browsers may keep without asking: names with a hash of their content, for good.
# All else is asked for each time, and the answer is mostly 304.
map $uri $decant_cache {
    default "no-cache";
{{- if .EnvPath}}
    "~^{{.EnvPattern}}$" "no-store";
{{- end}}
    "~\.(?:html?|xhtml|webmanifest)$" "no-cache";
{{- range .Rules}}
    "~^{{.Pattern}}" {{if .Immutable}}"public, max-age=31536000, immutable"{{else}}"no-cache"{{end}};
{{- end}}
}
{{- if .Policies}}

# The inline scripts of each page.
map $uri $decant_policy {
    default {{.Policy}};
{{- range .Policies}}
    "~^{{.Pattern}}" {{.Policy}};
{{- end}}
}
{{- end}}
{{- if .Proxies}}

map $http_upgrade $decant_connection {
    default upgrade;
    "" "";
}
map $http_x_forwarded_proto $decant_scheme {
    default $http_x_forwarded_proto;
    "" $scheme;
}
{{- end}}

server {
{{- range .Listen}}
    listen {{.}};
{{- end}}
    server_name _;
    server_tokens off;
    root {{.Root}};
    index index.html;
{{- if .Charset}}
    charset utf-8;
    charset_types text/css text/javascript application/javascript text/plain text/xml;
{{- end}}

    # Redirects without host and port: those of the container are not what users see.
    absolute_redirect off;

    # The .gz siblings; also to proxies, which speak HTTP/1.0 to nginx.
    gzip_static on;
    gzip_vary on;
    gzip_http_version 1.0;
    gzip_proxied any;
{{- if .Brotli}}
    brotli_static on;
{{- end}}

    # A location with an add_header of its own would lose all of these.
    add_header Cache-Control $decant_cache always;
{{- range .Headers}}
    add_header {{.}} always;
{{- end}}

    # An error is not cached as the file that was asked for: its path is that of the page.
    # Where the site has no such page nginx sends its own.
    error_page 404 {{.NotFound}};
    error_page 403 =404 {{.NotFound}};
    location = {{.NotFound}} {
        internal;
    }

    location = /healthz {
        access_log off;
        default_type text/plain;
        return 200 "ok\n";
    }
{{- if .EnvPath}}

    # The variables of the container, written by /` + hookFile + `.
    location = {{.EnvPath}} {
        gzip_static off;
        alias {{.EnvFile}};
    }
{{- end}}
{{- if .AppleApp}}

    location = {{.AppleApp}} {
        default_type application/json;
    }
{{- end}}
{{- range .Proxies}}

    location {{.Location}} {
        proxy_pass {{.Pass}};
{{- if .Secure}}
        proxy_ssl_server_name on;
{{- end}}
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $decant_connection;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Host $http_host;
        proxy_set_header X-Forwarded-Proto $decant_scheme;
        # The other server says what is too large, and nothing is put on disk.
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_max_temp_file_size 0;
        # Its answers have their own headers.
        add_header X-Content-Type-Options nosniff always;
    }
{{- end}}

    # Names with a dot in front are nobody's business, but for .well-known.
    location ~ /\.(?!well-known(?:/|$)) {
        return 404;
    }
{{- if .Extensions}}

    # A missing file is not found. It is no page, whatever the paths of the application.
    location ~* "\.(?:{{.Extensions}})$" {
        try_files $uri =404;
    }
{{- end}}

    location {{.BaseDir}} {
        try_files {{.Try}};
    }
{{- if .Base}}

    location = / {
        return 302 {{.Base}};
    }
    location = {{.Bare}} {
        return 301 {{.Base}};
    }
    location / {
        return 404;
    }
{{- end}}
}
`))
