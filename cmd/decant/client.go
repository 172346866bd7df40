package main

import (
	"context"
	"io"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/pflag"

	"github.com/decant-build/decant/assemble"
	"github.com/decant-build/decant/registry"
)

// hostPlatform is what this machine can run, in a container.
const hostPlatform = "linux/" + runtime.GOARCH

// clientOptions are the flags about registries.
type clientOptions struct {
	insecure []string
	caFile   string
	mirrors  []string
}

func (o *clientOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&o.insecure, "insecure-registry", nil,
		"`HOST` may speak http, or https with any certificate (repeatable); loopback may always speak http")
	fs.StringVar(&o.caFile, "ca-file", "", "trust the authorities in `FILE` (PEM) too")
	fs.StringArrayVar(&o.mirrors, "mirror", nil,
		"pull what HOST has from REF first, as docker.io=mirror.corp:5000/hub: `HOST=REF` (repeatable)")
}

func (o *clientOptions) check() error {
	for _, m := range o.mirrors {
		host, ref, ok := strings.Cut(m, "=")
		if !ok || host == "" || ref == "" || strings.Contains(host, "/") {
			return usagef("write it as docker.io=mirror.corp:5000/hub", "malformed --mirror %q", m)
		}
	}
	for _, host := range o.insecure {
		if host == "" || strings.Contains(host, "/") {
			return usagef("it is a host with an optional port, as registry.local:5000",
				"malformed --insecure-registry %q", host)
		}
	}
	return nil
}

func (o *clientOptions) open(ui *ui) (*registry.Client, error) {
	opts := registry.Options{
		Insecure: o.insecure, CAFile: o.caFile,
		UserAgent: "decant/" + versionText(),
		Progress:  ui.Transfer, Log: ui.Logf,
	}
	for _, m := range o.mirrors {
		host, ref, _ := strings.Cut(m, "=")
		if opts.Mirrors == nil {
			opts.Mirrors = map[string][]string{}
		}
		opts.Mirrors[host] = append(opts.Mirrors[host], ref)
	}
	var err error
	if opts.CacheDir, err = cacheDir(); err != nil {
		return nil, err
	}
	return registry.New(opts)
}

// pullBase lets assemble pull a base without knowing the registry package.
func pullBase(c *registry.Client) func(context.Context, string) (*assemble.Base, error) {
	return func(ctx context.Context, ref string) (*assemble.Base, error) {
		p, err := c.Pull(ctx, ref)
		if err != nil {
			return nil, err
		}
		return &assemble.Base{
			Name: canonicalName(p.Name.Name()), Digest: p.Digest, Index: p.Index, Image: p.Image,
		}, nil
	}
}

// canonicalName writes Docker Hub's host as everybody but its API does.
func canonicalName(ref string) string {
	if rest, ok := strings.CutPrefix(ref, "index.docker.io/"); ok {
		return "docker.io/" + rest
	}
	return ref
}

// pusher makes a registry session an assemble.Pusher.
type pusher struct{ target *registry.Target }

func (p pusher) Upload(ctx context.Context, layers ...v1.Layer) error {
	return p.target.Upload(ctx, layers...)
}

func (p pusher) Stream(ctx context.Context, r io.Reader, wait func() (v1.Hash, int64, error)) error {
	return p.target.Stream(ctx, r, wait)
}

func (p pusher) Push(ctx context.Context, m assemble.Manifest) ([]string, error) {
	pushed, err := p.target.Push(ctx, m)
	if err != nil {
		return nil, err
	}
	var refs []string
	seen := map[string]bool{}
	for _, one := range pushed {
		ref := canonicalName(one.Ref.Name())
		if !seen[ref] {
			refs = append(refs, ref)
			seen[ref] = true
		}
	}
	return refs, nil
}
