package project

import (
	"strings"
	"testing"
)

func TestVersionTag(t *testing.T) {
	tests := map[string]string{
		"22": "22", "v22.14.0": "22.14.0", "22.14": "22.14", "node@20": "20", "8": "8",
		"": "24", "*": "24", "node": "24", "system": "24", "lts/*": "24", "lts/-1": "22",
		"lts/jod": "22", "lts/Krypton": "24", "lts/iron": "20", "lts/unheard": "!",
		">=20": "24", ">= 20": "24", "^20.19.0 || >=22.12.0": "24", "^22.22.3 || ^24.15 || >=26": "24",
		">=18 <21": "20", "22.x": "22", "^22.12": "22", "20 || 22": "22", ">=25": "26", "25.x": "25",
		"~22.3": "22.3", "<22.5 >=22": "22.4", ">=22.5.1 <22.5.3": "22.5.2", "18 - 20": "20",
		">=99": "!", "garbage": "!", "22; rm -rf /": "!", "1.2.3.4": "!", strings.Repeat("1||", 200): "!",
	}
	for text, want := range tests {
		got, ok := versionTag(text)
		if !ok {
			got = "!"
		}
		if got != want {
			t.Errorf("versionTag(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestDetectChoosesNode(t *testing.T) {
	tests := []struct {
		name, extra string
		files       map[string]string
		image, from string
		warning     string
	}{
		{"default", "", nil, "node:24-slim", "the default", ""},
		{"engines", `,"engines":{"node":">=20 <23"}`, nil, "node:22-slim", "engines in package.json", ""},
		{"nvmrc", `,"engines":{"node":">=18"}`, map[string]string{".nvmrc": "# ours\nv22.14.0 # pinned\r\n"},
			"node:22.14.0-slim", ".nvmrc", ""},
		{"nvmrc against engines", `,"engines":{"node":">=24"}`, map[string]string{".nvmrc": "22"},
			"node:22-slim", ".nvmrc", "is not what engines"},
		{"node-version", "", map[string]string{".node-version": "20.1\n"}, "node:20.1-slim", ".node-version", ""},
		{"tool-versions", "", map[string]string{".tool-versions": "ruby 3\nnodejs 22.1.0 20\n"},
			"node:22.1.0-slim", ".tool-versions", ""},
		{"tool-versions without", "", map[string]string{".tool-versions": "ruby 3\n"}, "node:24-slim", "the default", ""},
		{"volta", `,"volta":{"node":"22.3.0"}`, nil, "node:22.3.0-slim", "volta", ""},
		{"devEngines", `,"devEngines":{"runtime":[{"name":"bun"},{"name":"node","version":"^20"}]}`, nil,
			"node:20-slim", "devEngines", ""},
		{"not understood", `,"engines":{"node":">=20"}`, map[string]string{".nvmrc": "my-alias"},
			"node:24-slim", "engines", `.nvmrc: "my-alias"`},
		{"old", "", map[string]string{".nvmrc": "16"}, "node:16-slim", ".nvmrc", "no longer maintained"},
		{"engines of another type", `,"engines":["node >= 4"]`, nil, "node:24-slim", "the default", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"package-lock.json": "", "package.json": `{"scripts":{"build":"x"}` + tt.extra + `}`}
			for name, content := range tt.files {
				files[name] = content
			}
			p := detect(t, tree(t, files), Overrides{})
			if p.Node.Image != "docker.io/library/"+tt.image || !strings.Contains(p.Sources.Node, tt.from) {
				t.Errorf("%s, %s", p.Node.Image, p.Sources.Node)
			}
			if got := strings.Join(p.Warnings, "\n"); !strings.Contains(got, tt.warning) || tt.warning == "" && got != "" {
				t.Errorf("warnings %q", got)
			}
		})
	}
}

func TestNodeVersionOfTheRootCountsForMembers(t *testing.T) {
	dir := tree(t, map[string]string{"package.json": `{"workspaces":["a"],"engines":{"node":"20"}}`, "package-lock.json": "",
		"a/package.json": dev("x"), ".nvmrc": "22"})
	if p := detect(t, dir+"/a", Overrides{}); p.Node.Version != "22" {
		t.Error(p.Sources.Node)
	}
}

func TestTarballNamesThePackage(t *testing.T) {
	tests := []struct {
		m    Manager
		arch string
		want Tarball
		ok   bool
	}{
		{Manager{Name: PNPM, Version: "10.34.9"}, "amd64", Tarball{"pnpm", "10.34.9", "bin/pnpm.cjs"}, true},
		{Manager{Name: Berry, Version: "4.18.1"}, "amd64", Tarball{"@yarnpkg/cli-dist", "4.18.1", "bin/yarn.js"}, true},
		{Manager{Name: Yarn, Version: "1.22.22"}, "amd64", Tarball{"yarn", "1.22.22", "bin/yarn.js"}, true},
		{Manager{Name: Bun, Version: "1.4.5"}, "arm64", Tarball{"@oven/bun-linux-aarch64", "1.4.5", "bin/bun"}, true},
		{Manager{Name: Bun, Version: "1.4.5"}, "s390x", Tarball{}, false},
		{Manager{Name: PNPM, Version: "10"}, "amd64", Tarball{}, false},
		{Manager{Name: NPM, Version: "11.0.0"}, "amd64", Tarball{}, false},
		{Manager{Name: Berry, Version: "4.1.0", File: ".yarn/releases/yarn-4.1.0.cjs"}, "amd64", Tarball{}, false},
	}
	for _, tt := range tests {
		got, ok := tt.m.Tarball(tt.arch)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%+v on %s: %v %v", tt.m, tt.arch, got, ok)
		}
	}
}
