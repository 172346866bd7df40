package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// parse gives the build options that a directory's files and args lead to.
func parse(t *testing.T, files map[string]string, args ...string) (buildOptions, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var o buildOptions
	fs := pflag.NewFlagSet("build", pflag.ContinueOnError)
	o.addFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	s, err := loadSettings(dir)
	if err != nil {
		return o, err
	}
	return o, s.apply(fs, fs)
}

func TestFlagsWinOverEnvironmentOverFile(t *testing.T) {
	file := map[string]string{".decant.yaml": "base: from.file/base\ncompression: zstd\n"}
	o, err := parse(t, file)
	if err != nil || o.base != "from.file/base" || o.compression != "zstd" {
		t.Fatalf("file alone: base %q, compression %q, %v", o.base, o.compression, err)
	}
	t.Setenv("DECANT_BASE", "from.env/base")
	if o, err = parse(t, file); err != nil || o.base != "from.env/base" {
		t.Fatalf("environment and file: base %q, %v", o.base, err)
	}
	if o, err = parse(t, file, "--base", "from.flag/base"); err != nil || o.base != "from.flag/base" {
		t.Fatalf("flag, environment and file: base %q, %v", o.base, err)
	}
}

func TestFileValuesHaveTheFlagsForms(t *testing.T) {
	o, err := parse(t, map[string]string{"package.json": `{
		"name": "@shop/web",
		"decant": {
			"tag": ["host.test/web:1", "host.test/web:2"],
			"label": {"b": "2", "a": 1},
			"port": 8080,
			"no-cache": true
		}}`})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"host.test/web:1", "host.test/web:2"}, o.tags); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a=1", "b=2"}, o.labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"8080"}, o.ports); diff != "" {
		t.Error(diff)
	}
	if !o.noCache {
		t.Error("no-cache: true had no effect")
	}
}

func TestSettingsRefuse(t *testing.T) {
	for _, c := range []struct {
		name     string
		files    map[string]string
		want     string
		wantHint string
	}{
		{"unknown key", map[string]string{".decant.yaml": "compresion: zstd\n"},
			`unknown key "compresion"`, `did you mean "compression"?`},
		{"key of the command line only", map[string]string{".decant.yaml": "quiet: true\n"},
			`key "quiet" is not for a project to set`, "--quiet"},
		{"a way out of the sandbox", map[string]string{"package.json": `{"decant":{"isolation":"none"}}`},
			`key "isolation" is not for a project to set`, "give it as a flag"},
		{"a file of the machine", map[string]string{"package.json": `{"decant":{"secret":"id=x,src=/etc/passwd"}}`},
			`key "secret" is not for a project to set`, ""},
		{"a directory outside", map[string]string{".decant.yaml": "dist: ../other\n"}, "is not in the project", "--dist"},
		{"an absolute output", map[string]string{".decant.yaml": "output: oci:/tmp/x\n"}, "is not in the project", "--output"},
		{"a fifo's place", map[string]string{".decant.yaml": "output: store\nbase: [a, b]\n"}, `"base" takes no list`, ""},
		{"two files", map[string]string{".decant.yaml": "base: a\n", "package.json": `{"decant":{"base":"b"}}`},
			"both ", "keep one"},
		{"list for one value", map[string]string{".decant.yaml": "base: [a, b]\n"}, `key "base" takes no list`, ""},
		{"nested value", map[string]string{".decant.yaml": "tag: [[a]]\n"}, `key "tag"`, ""},
		{"bad bool", map[string]string{".decant.yaml": "no-cache: perhaps\n"}, `key "no-cache"`, ""},
		{"no YAML", map[string]string{".decant.yaml": "\t{"}, ".decant.yaml", ""},
		{"no JSON", map[string]string{"package.json": "{"}, "package.json", ""},
		{"too large", map[string]string{".decant.yaml": "#" + strings.Repeat("x", maxSettings)}, "larger than", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(t, c.files)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q in it", err, c.want)
			}
			var u *usageError
			if c.wantHint != "" && (!errors.As(err, &u) || !strings.Contains(u.Hint(), c.wantHint)) {
				t.Errorf("hint of %#v, want %q in it", err, c.wantHint)
			}
		})
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte("base: x\ntag: [a, b]\nlabel: {a: 1}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("port: 1e400\nuser: 0x10\nno-cache: yes"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".decant.yaml"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := loadSettings(dir)
		if err != nil {
			return
		}
		var o buildOptions
		fs := pflag.NewFlagSet("build", pflag.ContinueOnError)
		o.addFlags(fs)
		_ = s.apply(fs, fs) // must not panic
	})
}

func TestNearest(t *testing.T) {
	candidates := []string{"base", "tag", "platform", "compression", "no-cache"}
	for word, want := range map[string]string{
		"tags": "tag", "platforms": "platform", "compresion": "compression", "nocache": "no-cache",
		"bas": "base", "tga": "tag", "zzz": "", "x": "", "": "",
	} {
		if got := nearest(word, candidates); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
