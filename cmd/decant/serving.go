package main

import (
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
)

// servingOptions are the flags about how the image's nginx serves a site.
type servingOptions struct {
	conf       string
	spa, noSPA bool
	csp        string
	headers    []string
	basePath   string
	proxies    []string
	runtimeEnv []string
	check      string
}

func (o *servingOptions) addFlags(fs *pflag.FlagSet) {
	// plan has a flag of the same name, which prints the configuration.
	if fs.Lookup("serve") == nil {
		fs.StringVar(&o.conf, "serve", "",
			"nginx's configuration: auto (decant's; the default on a base that is nginx), off, or a `FILE` of your own")
	}
	fs.BoolVar(&o.spa, "spa", false, "a single-page application: paths that are no file get index.html")
	fs.BoolVar(&o.noSPA, "no-spa", false, "no single-page application: paths that are no file get 404.html")
	fs.StringVar(&o.csp, "csp", "", "send a Content-Security-Policy: auto computes one, or a `POLICY`")
	fs.StringArrayVar(&o.headers, "header", nil, "add `NAME:VALUE` to every answer; an empty value takes one of decant's away (repeatable)")
	fs.StringVar(&o.basePath, "base-path", "", "the `PATH` of the site's address, as /shop/")
	fs.StringArrayVar(&o.proxies, "proxy", nil, "hand requests to another server: `PATH=URL`, as /api=http://api:3000 (repeatable)")
	fs.StringArrayVar(&o.runtimeEnv, "runtime-env", nil,
		"variables that the page finds in window.__env, after loading env.js: `NAME`s, or beginnings as PUBLIC_ (repeatable)")
	fs.StringVar(&o.check, "check", "", "before publishing: warn, strict (warnings are errors) or off (`KIND`, default warn)")
}

func (o *servingOptions) checkFlags() error {
	if o.spa && o.noSPA {
		return usagef("leave one out", "--spa and --no-spa exclude one another")
	}
	for _, h := range o.headers {
		if name, _, ok := strings.Cut(h, ":"); !ok || strings.TrimSpace(name) == "" {
			return usagef("write it as NAME:VALUE", "malformed --header %q", h)
		}
	}
	paths := map[string]bool{}
	for _, p := range o.proxies {
		path, _, _ := strings.Cut(p, "=")
		if paths[path] {
			return usagef("leave one out", "--proxy %s is given twice", path)
		}
		paths[path] = true
		if path, url, ok := strings.Cut(p, "="); !ok || path == "" || url == "" {
			return usagef("write it as /api=http://HOST:PORT", "malformed --proxy %q", p)
		}
	}
	if o.conf != "" && o.conf != "auto" && o.conf != "off" {
		info, err := os.Stat(o.conf)
		if err == nil && !info.Mode().IsRegular() {
			return usagef("one of auto, off, or a file with nginx's configuration", "--serve %s: not a file", o.conf)
		}
		if err != nil {
			return usagef("one of auto, off, or a file with nginx's configuration", "--serve %s: no such file", o.conf)
		}
	}
	return nil
}

// apply fills in what the flags say; they were checked.
func (o *servingOptions) apply(opts *assemble.Options) {
	s := assemble.Serving{Conf: o.conf, CSP: o.csp, BasePath: o.basePath, Proxies: keyValues(o.proxies)}
	if o.spa || o.noSPA {
		s.SinglePage = &o.spa
	}
	for _, h := range o.headers {
		name, value, _ := strings.Cut(h, ":")
		s.Headers = append(s.Headers, assemble.Header{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	for _, list := range o.runtimeEnv {
		for name := range strings.SplitSeq(list, ",") {
			s.RuntimeEnv = append(s.RuntimeEnv, strings.TrimSpace(name))
		}
	}
	opts.Serving, opts.Check = s, o.check
}
