package bed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSourcesOfDebianAreFoundInBothForms(t *testing.T) {
	for _, c := range []struct{ name, file, content, want string }{
		{"deb822", "debian.sources", `# a comment
Types: deb
# another
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main contrib
`, "http://deb.debian.org/debian|bookworm bookworm-updates|" +
			"Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n" +
			"http://deb.debian.org/debian-security|bookworm-security|\n"},
		{"key in the stanza", "x.sources", "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm\n" +
			"Components: main\nSigned-By:\n -----BEGIN-----\n .\n abc\n",
			"http://mirror/debian|bookworm|Signed-By: \n -----BEGIN-----\n .\n abc\n"},
		{"disabled", "x.sources", "Types: deb\nURIs: http://mirror/debian\nSuites: s\nComponents: main\nEnabled: no\n", ""},
		{"sources only", "x.sources", "Types: deb-src\nURIs: http://mirror/debian\nSuites: s\nComponents: main\n", ""},
		{"third party", "node.sources", "Types: deb\nURIs: https://deb.example.com/node_20.x\nSuites: nodistro\n" +
			"Components: main\n", ""},
		{"one line", "debian.list", "deb http://deb.debian.org/debian bookworm main # comment\n" +
			"deb-src http://deb.debian.org/debian bookworm main\n" +
			"deb https://packages.example.com/apt cloud main\n",
			"http://deb.debian.org/debian|bookworm|\n"},
		{"one line with options", "debian.list", "deb [arch=amd64 signed-by=/k.gpg]  http://m/x/debian/ sid contrib main\n",
			"http://m/x/debian/|sid|Signed-By: /k.gpg\n"},
		{"option without end", "debian.list", "deb [arch=amd64 http://m/debian sid main\n", ""},
		{"dated", "x.list", "deb http://m/archive/debian/20250520T000000Z bookworm main\n",
			"http://m/archive/debian/20250520T000000Z|bookworm|\n"},
		{"not apt's", "debian.list.disabled", "deb http://deb.debian.org/debian bookworm main\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			etc := t.TempDir()
			if err := os.Mkdir(filepath.Join(etc, "sources.list.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(etc, "sources.list.d", c.file), []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
			all, err := debianSources(etc)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, s := range all {
				got.WriteString(s.uris + "|" + s.suites + "|" + strings.Join(s.options, ";") + "\n")
			}
			if diff := cmp.Diff(c.want, got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzSources(f *testing.F) {
	f.Add("Types: deb\nURIs: http://m/debian\nSuites: s\nComponents: main\n continued\n")
	f.Add("deb [signed-by=k] http://m/debian s main\n")
	f.Add(" \n\t\n:\n[")
	f.Fuzz(func(t *testing.T, text string) {
		var all []source
		for _, parse := range []func(string) ([]source, error){
			func(s string) ([]source, error) { return parseDeb822(strings.NewReader(s)) },
			func(s string) ([]source, error) { return parseOneLine(strings.NewReader(s)) },
		} {
			found, err := parse(text)
			if err != nil {
				continue // a line longer than a scanner takes
			}
			all = append(all, found...)
		}
		for _, s := range all {
			if !strings.Contains(s.uris, "debian") || s.suites == "" {
				t.Errorf("%q gave %+v", text, s)
			}
		}
	})
}
