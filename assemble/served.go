package assemble

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/decant-build/decant/assemble/internal/cache"
	"github.com/decant-build/decant/assemble/internal/layer"
	"github.com/decant-build/decant/assemble/internal/project"
	"github.com/decant-build/decant/assemble/internal/site"
)

// Serving says how the image's nginx serves the site; the zero value is decant's
// choice.
type Serving struct {
	// Conf is "auto", or "" (decant's configuration, if the base is nginx and has none of
	// its own), "off", or a file with the user's.
	Conf string
	// SinglePage answers a path that is no file with index.html, or with 404.html if it
	// is false; nil is found out from the site.
	SinglePage *bool
	CSP        string            // a Content-Security-Policy, or "auto"
	Headers    []Header          // of every answer
	BasePath   string            // of the site's address, as "/shop/"
	Proxies    map[string]string // URLs by path, as "/api" to "http://api:3000"
	// RuntimeEnv are names of variables, or beginnings of names that end in "_" or "*",
	// whose values at the container's start the site finds in window.__env.
	RuntimeEnv []string
}

// Header is a header of an answer.
type Header = site.Header

// The values of Options.Check.
const (
	CheckWarn   = "warn"
	CheckOff    = "off"
	CheckStrict = "strict"
)

// plain reports a Serving that asks for nothing in particular.
func (s Serving) plain() bool {
	return s.SinglePage == nil && s.CSP == "" && len(s.Headers) == 0 && s.BasePath == "" && len(s.Proxies) == 0 &&
		len(s.RuntimeEnv) == 0
}

// options translates what the user said.
func (b *build) serveOptions() site.ServeOptions {
	s := b.Serving
	o := site.ServeOptions{User: b.User, BasePath: s.BasePath, Headers: s.Headers, CSP: s.CSP}
	if p := b.input.project; p != nil {
		o.FrameworkHint = map[project.Mode]site.Mode{project.SPA: site.SinglePage, project.MPA: site.MultiPage}[p.Mode]
	}
	if s.SinglePage != nil {
		o.Mode = site.MultiPage
		if *s.SinglePage {
			o.Mode = site.SinglePage
		}
	}
	for _, port := range b.Ports {
		number, protocol, _ := strings.Cut(port, "/")
		if n, err := strconv.Atoi(number); err == nil && protocol != "udp" && o.Port == 0 {
			o.Port = n
		}
	}
	for path, url := range s.Proxies {
		o.Proxies = append(o.Proxies, site.Proxy{Path: path, URL: url})
	}
	slices.SortFunc(o.Proxies, func(a, b site.Proxy) int { return strings.Compare(a.Path, b.Path) })
	for _, name := range s.RuntimeEnv {
		if strings.HasSuffix(name, "_") {
			name += "*"
		}
		o.RuntimeEnv = append(o.RuntimeEnv, name)
	}
	return o
}

// checkServing reports malformed options.
func (b *build) checkServing() error {
	switch b.Check {
	case "", CheckWarn, CheckOff, CheckStrict:
	default:
		return usagef("one of off, warn, strict", "unknown check %q", b.Check)
	}
	if b.Serving.Conf != "" && b.Serving.Conf != "auto" && !b.Serving.plain() {
		return usagef("put it into your own configuration, or leave --serve out",
			"--serve %s leaves nothing for the other options of serving to do", b.Serving.Conf)
	}
	o := b.serveOptions()
	if err := o.Validate(); err != nil {
		return servingError(err)
	}
	if b.ownConf() != "" {
		text, err := readConf(b.ownConf())
		if err != nil {
			return err
		}
		if _, err := site.CheckConf(b.ownConf(), text); err != nil {
			return servingError(err)
		}
	}
	return nil
}

// servingFlags are the fields of site.ServeOptions as the user knows them.
var servingFlags = map[string]string{
	"Headers": "--header", "BasePath": "--base-path", "Proxies": "--proxy", "CSP": "--csp",
	"RuntimeEnv": "--runtime-env", "Port": "--port", "User": "--user", "Mode": "--spa",
}

// servingError is a usage error that names the flag.
func servingError(err error) error {
	var wrong *site.OptionError
	if errors.As(err, &wrong) {
		if flag := servingFlags[wrong.Option]; flag != "" {
			wrong.Option = flag
		}
	}
	fix := ""
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		fix = hinted.Hint()
	}
	return &UsageError{Err: err, Fix: fix}
}

// ownConf is the user's configuration; "" if decant's or none is wanted.
func (b *build) ownConf() string {
	if conf := b.Serving.Conf; conf != "auto" && conf != "off" {
		return conf
	}
	return ""
}

func readConf(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("name nginx's configuration: auto, off or a file", "--serve %s: %s", name, reason(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConf+1))
	if err == nil && len(text) > maxConf {
		err = fmt.Errorf("larger than %d MiB", maxConf>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return text, nil
}

// serve checks the site, and adds to it what its nginx needs: a configuration, and
// compressed siblings.
func (b *build) serve(ctx context.Context, tree layer.Tree, parts []part) (layer.Tree, error) {
	o := b.serveOptions()
	server, decides, err := b.server(parts)
	if err != nil {
		return tree, err
	}
	if !decides && b.Check == CheckOff {
		return b.addOwn(tree)
	}
	analysis, err := b.analyse(ctx, tree, o)
	if err != nil {
		return tree, err
	}
	if err := b.checkSite(tree, analysis); err != nil {
		return tree, err
	}
	if !decides {
		return b.addOwn(tree)
	}
	b.listen = server.Listen(o)
	b.Progress.Fact("serve", fmt.Sprintf("nginx on port %d: %s (%s)", b.listen, analysis.Mode, analysis.Why))
	files, err := site.Files(analysis, server, o)
	if err != nil {
		return tree, servingError(err)
	}
	siblings, err := b.siblings(ctx, tree)
	if err != nil {
		return tree, err
	}
	return b.added(tree, append(files, siblings...)), nil
}

// added is the site with further entries.
func (b *build) added(tree layer.Tree, entries []layer.Entry) layer.Tree {
	tree.Entries = slices.Concat(tree.Entries, entries)
	layer.Sort(tree.Entries)
	return tree
}

// server tells whether decant configures the image's nginx.
func (b *build) server(parts []part) (server site.Server, decides bool, err error) {
	if b.Serving.Conf != "" && b.Serving.Conf != "auto" {
		return server, false, nil
	}
	config, err := parts[0].base.ConfigFile()
	if err != nil {
		return server, false, err
	}
	server, found := site.Detect(*config)
	why := ""
	switch {
	case !found:
		why = "is not nginx, by what it executes"
	case server.OwnConf != "":
		why = fmt.Sprintf("brings its own configuration (%q)", server.OwnConf)
	case !strings.HasPrefix(b.WebRoot, "/usr/share/nginx/html") && b.Serving.Conf == "":
		why = "serves another directory than " + b.WebRoot
	}
	if why == "" || found && b.Serving.Conf == "auto" {
		return server, true, nil
	}
	if b.Serving.Conf == "auto" || !b.Serving.plain() {
		return server, false, usagef("leave the options of serving out, or choose a base that is nginx", "base %s %s", b.Base, why)
	}
	if found {
		b.Progress.Fact("serve", "as the base says: it "+why)
	}
	return server, false, nil
}

// exposedPorts are those of an image whose nginx decant configures: where that
// listens, and what the user named, instead of the base's.
func (b *build) exposedPorts() map[string]json.RawMessage {
	if b.listen == 0 {
		return nil
	}
	// A map of strings always encodes.
	ports, _ := json.Marshal(map[string]struct{}{fmt.Sprintf("%d/tcp", b.listen): {}})
	return map[string]json.RawMessage{"ExposedPorts": ports}
}

// addOwn adds the user's configuration, if there is one.
func (b *build) addOwn(tree layer.Tree) (layer.Tree, error) {
	name := b.ownConf()
	if name == "" {
		return tree, nil
	}
	text, err := readConf(name)
	if err != nil {
		return tree, err
	}
	files, err := site.Own(name, text)
	if err != nil {
		return tree, err
	}
	b.Progress.Fact("serve", "as "+name+" says")
	return b.added(tree, files), nil
}

// maxConf bounds a configuration.
const maxConf = 4 << 20

// analyse reads the site, unless an earlier build has read the same.
func (b *build) analyse(ctx context.Context, tree layer.Tree, o site.ServeOptions) (*site.Analysis, error) {
	stamp, known := site.Stamp(tree, b.webRoot, o)
	key := cache.Key("analysis/1", b.webRoot, stamp)
	if known && b.cache != nil && !b.NoCache {
		if kept, ok := b.cache.Index(key); ok {
			analysis := &site.Analysis{}
			if json.Unmarshal(kept, analysis) == nil {
				return analysis, nil
			}
		}
	}
	analysis, err := site.Analyse(ctx, tree, b.webRoot, o)
	if err != nil || !known || b.cache == nil {
		return analysis, err
	}
	kept, err := json.Marshal(analysis)
	if err == nil {
		err = b.cache.KeepIndex(key, kept)
	}
	if err != nil {
		b.Progress.Warn("what the site is like is not kept for the next build: " + err.Error())
	}
	return analysis, nil
}

// checkSite refuses what must not be published, and tells what is likely a mistake.
func (b *build) checkSite(tree layer.Tree, analysis *site.Analysis) error {
	if b.Check == CheckOff {
		return nil
	}
	warnings, err := site.Check(tree, analysis, site.CheckOptions{Allow: b.AllowSecrets, Strict: b.Check == CheckStrict})
	if err != nil {
		return err
	}
	for _, w := range warnings {
		b.Progress.Warn(w.String())
	}
	return nil
}

// siblings makes compressed files beside large ones. They are kept for the next
// build of the site.
func (b *build) siblings(ctx context.Context, tree layer.Tree) ([]layer.Entry, error) {
	o := site.PrecompressOptions{Root: b.siteRoot}
	if b.cache == nil || b.NoCache {
		dir, err := os.MkdirTemp(b.temp(), "siblings-")
		if err != nil {
			return nil, err
		}
		b.atEnd(func() error { return os.RemoveAll(dir) })
		return site.Precompress(ctx, tree, dir, o)
	}
	dir, release, err := b.cache.MountDir(ctx, "siblings of "+b.input.identity, cache.Private, nil)
	if err != nil {
		return nil, err
	}
	b.atEnd(func() error { release(); return nil })
	return site.Precompress(ctx, tree, dir, o)
}

// PlanServing returns the configuration of nginx with which Build would serve a
// finished site. It reads the base's configuration, and executes nothing.
func PlanServing(ctx context.Context, o Options) (string, error) {
	b, err := newBuild(ctx, o)
	if err != nil {
		return "", err
	}
	if b.input.dist == "" {
		return "", usagef("build it, and name the result with --dist DIR",
			"%s: how a site is served is known once it is built", b.Dir)
	}
	base, err := b.openBase(ctx)
	if err != nil {
		return "", err
	}
	if base.Close != nil {
		defer base.Close()
	}
	parts, err := b.choosePlatforms(base)
	if err != nil {
		return "", err
	}
	tree, err := b.scan(ctx)
	if err != nil {
		return "", err
	}
	server, decides, err := b.server(parts)
	if err != nil {
		return "", err
	}
	if !decides {
		return "", usagef("choose a base that is nginx, without a configuration of its own", "base %s: decant does not configure it", b.Base)
	}
	analysis, err := site.Analyse(ctx, tree, b.webRoot, b.serveOptions())
	if err != nil {
		return "", err
	}
	return site.Config(analysis, server, b.serveOptions())
}
