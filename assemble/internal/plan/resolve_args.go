package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// platformArgNames are the arguments that exist without a value being given. A
// stage sees one once it declares it.
var platformArgNames = []string{
	"BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT",
	"TARGETPLATFORM", "TARGETOS", "TARGETOSVERSION", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
}

// platformArgs are their values. A build argument of the name wins.
func (d *Dockerfile) platformArgs(o ResolveOptions, target int) *environ {
	b, t := o.BuildPlatform, o.TargetPlatform
	stage := d.stages[target].name
	if stage == "" {
		stage = "default"
	}
	values := []string{
		formatPlatform(b, false), b.OS, b.OSVersion, b.Architecture, b.Variant,
		formatPlatform(t, true), t.OS, t.OSVersion, t.Architecture, t.Variant, stage,
	}
	env := newEnviron()
	for i, name := range platformArgNames {
		value := values[i]
		if given, ok := o.BuildArgs[name]; ok {
			value = given
		}
		// These few are never too large together, and an argument that is has been
		// refused by the system that started the process.
		_ = env.set(name, value)
	}
	return env
}

// expandMetaArgs adds the arguments before the first FROM.
func (d *Dockerfile) expandMetaArgs(env *environ, given map[string]string, found *faults) {
	for _, m := range d.metaArgs {
		for _, a := range m.args {
			value, err := a.Value, error(nil)
			if v, ok := given[a.Key]; ok {
				value = &v
			} else if a.Value != nil {
				var word expansion
				word, err = expand(*a.Value, d.escape, env)
				value = &word.text
			}
			if err == nil && value != nil {
				err = env.set(a.Key, *value)
			}
			if err != nil {
				found.instruction(m.node, "", err)
				return
			}
		}
	}
}

// proxyNames are the arguments that a RUN sees without an ARG.
var proxyNames = []string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"}

func isProxy(name string) bool { return slices.Contains(proxyNames, strings.ToLower(name)) }

// proxyEnv returns the proxies among the build arguments as K=V, in both cases.
func proxyEnv(args map[string]string) []string {
	values := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if isProxy(name) && args[name] != "" {
			values[strings.ToLower(name)] = args[name]
		}
	}
	var env []string
	for _, name := range proxyNames {
		if v := values[name]; v != "" {
			env = append(env, strings.ToUpper(name)+"="+v, name+"="+v)
		}
	}
	return env
}

// formatPlatform writes os/arch/variant, with the version of the os in
// parentheses if there is one and it is asked for.
func formatPlatform(p v1.Platform, version bool) string {
	os := p.OS
	if version && p.OSVersion != "" {
		os += "(" + p.OSVersion + ")"
	}
	text := os + "/" + p.Architecture
	if p.Variant != "" {
		text += "/" + p.Variant
	}
	return text
}

// parsePlatform reads "os", "arch", "os/arch" or "os/arch/variant", with the usual
// names of architectures. What is left out is that of the machine.
func parsePlatform(text string, machine v1.Platform) (v1.Platform, error) {
	parts := strings.Split(strings.ToLower(text), "/")
	for _, part := range parts {
		if part == "" || strings.ContainsFunc(part, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
		}) {
			return v1.Platform{}, fmt.Errorf("%q is no platform", text)
		}
	}
	var p v1.Platform
	switch len(parts) {
	case 1:
		p.OS, p.Architecture, p.Variant = machine.OS, machine.Architecture, machine.Variant
		if slices.Contains([]string{"linux", "darwin", "windows", "freebsd"}, parts[0]) {
			p.OS = parts[0]
			return p, nil
		}
		p.Architecture, p.Variant = architecture(parts[0], "")
		if !slices.Contains([]string{"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le",
			"riscv64", "s390x"}, p.Architecture) {
			return p, fmt.Errorf("%q is no platform", text)
		}
	case 2:
		p.OS = parts[0]
		p.Architecture, p.Variant = architecture(parts[1], "")
	case 3:
		p.OS = parts[0]
		p.Architecture, p.Variant = architecture(parts[1], parts[2])
	default:
		return p, fmt.Errorf("%q is no platform", text)
	}
	return p, nil
}

// architecture returns the name that images have, and the variant if it is not
// the default one.
func architecture(arch, variant string) (string, string) {
	switch arch {
	case "x86_64", "x86-64":
		arch = "amd64"
	case "i386":
		arch = "386"
	case "aarch64":
		arch = "arm64"
	case "armhf":
		arch, variant = "arm", "v7"
	case "armel":
		arch, variant = "arm", "v6"
	}
	switch {
	case arch == "arm64" && (variant == "8" || variant == "v8"), arch == "amd64" && variant == "v1":
		variant = ""
	case arch == "arm" && variant == "":
		variant = "v7"
	case arch == "arm" && len(variant) == 1:
		variant = "v" + variant
	}
	return arch, variant
}
