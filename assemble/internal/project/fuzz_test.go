package project

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzDetect puts foreign text into the files that are read, and expects a plan
// of the steps it has to have, or an error; commands never get a second line.
func FuzzDetect(f *testing.F) {
	f.Add(dev("vite build", "vite"), ">=20", "__metadata:\n  version: 8", "({build:{outDir:'x'}})")
	f.Add(`{"packageManager":"yarn@4.1.0","scripts":{"a:build\n":"x"},"workspaces":["."]}`, "v22", "", "")
	f.Add(`{"devDependencies":{"@angular/core":""},"volta":{"node":"'; x"}}`, "lts/*", "lockfileVersion: '9.0'", "/* ")
	f.Add(`{"devDependencies":{"vite":""},"devEngines":{"packageManager":{"name":"yarn","version":"1\n"}}}`, "\xff", "\x00", "`")
	f.Add(`{"scripts":{"build":1}}`, "1||2", "", "\"\\")
	f.Fuzz(func(t *testing.T, manifest, nvmrc, lock, config string) {
		dir := t.TempDir()
		for name, content := range map[string]string{"package.json": manifest, ".nvmrc": nvmrc,
			"yarn.lock": lock, "vite.config.js": config, "angular.json": config} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, err := Detect(t.Context(), dir, Overrides{})
		if err != nil {
			return
		}
		again, err := Detect(t.Context(), dir, Overrides{})
		text := p.Plan(PlanOptions{Base: "nginx", WebRoot: "/srv"}).Dockerfile()
		if err != nil || again.Plan(PlanOptions{Base: "nginx", WebRoot: "/srv"}).Dockerfile() != text {
			t.Errorf("detected twice, two plans: %v", err)
		}
		count := map[string]int{}
		for _, line := range strings.Split(text, "\n") {
			name, _, _ := strings.Cut(line, " ")
			count[name]++
		}
		runs := 2
		if p.Setup != "" {
			runs++
		}
		if count["FROM"] != 2 || count["COPY"] != 2 || count["RUN"] != runs || count["ENV"] != len(p.Env) {
			t.Errorf("%v in\n%s", count, text)
		}
		for _, out := range p.OutputDirs {
			if strings.HasPrefix(out, "/") || strings.HasPrefix(out, "..") {
				t.Errorf("output %q", out)
			}
		}
	})
}

func FuzzVersionTag(f *testing.F) {
	for _, s := range []string{"22", "^20 || >=22", "lts/jod", "v1.2.3-rc.1+x", "1 - 2", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tag, ok := versionTag(s)
		if ok != (tag != "") || strings.Trim(tag, "0123456789.") != "" {
			t.Errorf("versionTag(%q) = %q, %v", s, tag, ok)
		}
	})
}

func FuzzStripComments(f *testing.F) {
	for _, s := range []string{"a // b\nc", "/* x */y", `"//" + '/*'`, "`\n//`", `'\'`, "//", "/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := stripComments(s)
		if len(out) > len(s) || strings.Count(out, "'") > strings.Count(s, "'") {
			t.Errorf("stripComments(%q) = %q", s, out)
		}
	})
}

func TestStripComments(t *testing.T) {
	for src, want := range map[string]string{
		"a // b\nc": "a \nc", "a/*b*/c": "a c", `u = "http://x" // y`: `u = "http://x" `,
		"`//\n/*`": "`//\n/*`", `'a\'//b'`: `'a\'//b'`, "'open // x\ny": "'open // x\ny", "a /* open": "a ",
	} {
		if got := stripComments(src); got != want {
			t.Errorf("stripComments(%q) = %q, want %q", src, got, want)
		}
	}
}
