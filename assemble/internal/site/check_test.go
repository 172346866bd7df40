package site

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/decant-build/decant/assemble/internal/layer"
)

const root = "usr/share/nginx/html"

// siteOf makes a tree: "name/" is a directory, "name -> target" a link, all else
// a file with the given content, which is on disk too.
func siteOf(t testing.TB, files map[string]string, names ...string) layer.Tree {
	t.Helper()
	tree := layer.Tree{Dir: t.TempDir()}
	for name, data := range files {
		file := filepath.Join(tree.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		tree.Entries = append(tree.Entries, layer.Entry{Name: path.Join(root, name), Source: name})
	}
	for _, name := range names {
		if name, target, isLink := strings.Cut(name, " -> "); isLink {
			if err := os.Symlink(target, filepath.Join(tree.Dir, name)); err != nil {
				t.Fatal(err)
			}
			tree.Entries = append(tree.Entries, layer.Entry{Name: path.Join(root, name),
				Kind: layer.Link, Target: target})
			continue
		}
		e := layer.Entry{Name: path.Join(root, name), Kind: layer.File, Source: name}
		if strings.HasSuffix(name, "/") {
			e.Kind, e.Source = layer.Dir, ""
		}
		tree.Entries = append(tree.Entries, e)
	}
	return tree
}

func found(t *testing.T, err error) []string {
	t.Helper()
	var secret *SecretError
	if err != nil && !errors.As(err, &secret) {
		t.Fatalf("CheckNames = %v, want a *SecretError", err)
	}
	if secret == nil {
		return nil
	}
	var list []string
	for _, f := range secret.Findings {
		list = append(list, f.Path)
	}
	return list
}

func TestCheckNamesRefusesByName(t *testing.T) {
	for _, name := range []string{
		".env", ".ENV", "a/.env", ".env.production", ".env.local", ".env.example.local", ".envrc",
		".npmrc", ".netrc", "_netrc", ".git/", ".git", "sub/.git/", ".svn/", ".git-credentials",
		".htpasswd", ".aws/credentials", "x/.AWS/Credentials", ".docker/config.json",
		".kube/config", ".dockerconfigjson", ".dockercfg", ".pypirc", "id_rsa", "id_dsa",
		"id_ecdsa", "keys/id_ed25519", "ID_RSA", "a.p12", "a.PFX", "a.jks", "a.keystore", "a.ppk",
		".ssh/", "kubeconfig", ".well-known/.env", ".env -> x",
	} {
		if got := found(t, CheckNames(siteOf(t, nil, name), root, nil)); len(got) != 1 {
			t.Errorf("%q passes", name)
		}
	}
}

func TestCheckNamesPassesWhatIsOrdinary(t *testing.T) {
	for _, name := range []string{
		"index.html", ".well-known/security.txt", ".well-known/", "env", "env.js", ".environment",
		"x.env", ".env.example", ".env.sample", ".env.template", ".env.dist", "npmrc", ".gitignore",
		".github/", "git/", ".gitattributes", "id_rsa.pub", "id_ed25519.pub", "id_rsa/",
		"credentials", "aws/credentials", "config.json", "docker/config.json", ".htaccess",
		"kubeconfig/", "docs/kubeconfig/index.html", "a.p12/", "keystore", "key", "pem", ".ssh.html",
		"certs.pem/",
	} {
		if err := CheckNames(siteOf(t, nil, name), root, nil); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCheckNamesReadsKeysAndYarnrc(t *testing.T) {
	const (
		certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
		key         = "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n"
	)
	tests := []struct {
		name, content string
		refused       bool
	}{
		{"ca.pem", certificate, false},
		{"ca.pem", key, true},
		{"TLS.KEY", "-----BEGIN PRIVATE KEY-----\n", true},
		{"ssh.key", "-----BEGIN OPENSSH PRIVATE KEY-----\n", true},
		{"pgp.key", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n", true},
		{"pgp.key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n", false},
		{"talk.key", "PK\x03\x04", false},
		{"empty.pem", "", false},
		{"chain.pem", strings.Repeat(certificate, 100) + key, true},
		{"huge.pem", strings.Repeat(" ", maxLook) + key, false}, // the bound
		{".well-known/x.pem", key, true},
		{"key.txt", key, false}, // by its name nobody would look
		{".yarnrc.yml", "nodeLinker: node-modules\n", false},
		{".yarnrc.yml", "npmScopes:\n  x:\n    npmAuthToken: abc\n", true},
	}
	for _, tt := range tests {
		err := CheckNames(siteOf(t, map[string]string{tt.name: tt.content}), root, nil)
		if got := len(found(t, err)) == 1; got != tt.refused {
			t.Errorf("%s with %.30q: %v", tt.name, tt.content, err)
		}
		generated := layer.Tree{Entries: []layer.Entry{{Name: path.Join(root, tt.name),
			Data: []byte(tt.content)}}}
		if got := len(found(t, CheckNames(generated, root, nil))) == 1; got != tt.refused {
			t.Errorf("generated %s with %.30q is judged otherwise", tt.name, tt.content)
		}
	}
}

func TestCheckNamesLooksThroughLinks(t *testing.T) {
	files := map[string]string{"text": "PRIVATE KEY"}
	if got := found(t, CheckNames(siteOf(t, files, "l.pem -> text"), root, nil)); len(got) != 1 {
		t.Error("a link to a key passes")
	}
	for _, name := range []string{"l.pem -> no", "l.pem -> ."} {
		if err := CheckNames(siteOf(t, files, name), root, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckNamesNeverLooksOutside(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("PRIVATE KEY"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := CheckNames(siteOf(t, nil, "l.pem -> "+outside), root, nil)
	var secret *SecretError
	if err == nil || errors.As(err, &secret) {
		t.Errorf("CheckNames = %v, want it to refuse to look", err)
	}
}

func TestCheckNamesFailsOnWhatItCannotRead(t *testing.T) {
	err := CheckNames(siteOf(t, nil, "gone.pem"), root, nil)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), `"gone.pem"`) {
		t.Errorf("CheckNames = %v", err)
	}
}

func TestCheckNamesLetsThroughWhatIsAllowed(t *testing.T) {
	key := map[string]string{"certs/demo.pem": "PRIVATE KEY"}
	tests := []struct {
		glob  string
		names []string
		want  []string
	}{
		{".env", []string{".env", "a/.env"}, nil},
		{".env*", []string{".env", ".env.x", ".npmrc"}, []string{".npmrc"}},
		{"a/.env", []string{".env", "a/.env"}, []string{".env"}},
		{"certs/*.pem", nil, nil},
		{"demo.pem", nil, nil},
		{"*", []string{".env", ".git/"}, nil},
		{".ssh", []string{".ssh/", ".ssh/id_rsa"}, nil},
		{"a/.ssh", []string{"a/.ssh/", "a/.ssh/id_rsa"}, nil},
		{".ssh/id_*", []string{".ssh/", ".ssh/id_rsa"}, []string{".ssh"}},
		{"*.key", []string{".env"}, []string{".env"}},
		{".ENV", []string{".env"}, []string{".env"}},
	}
	for _, tt := range tests {
		files := key
		if tt.names != nil {
			files = nil
		}
		tree := siteOf(t, files, tt.names...)
		if diff := cmp.Diff(tt.want, found(t, CheckNames(tree, root, []string{tt.glob}))); diff != "" {
			t.Errorf("%q of %q (-want +got):\n%s", tt.glob, tt.names, diff)
		}
	}
}

func TestValidateGlobsReportsTheMalformedOne(t *testing.T) {
	if err := ValidateGlobs([]string{"*.pem", "[a-z]/x", `\[`}); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"[", "a[", "*[", `x\`, "[]"} {
		err := ValidateGlobs([]string{"ok", bad})
		if !errors.Is(err, path.ErrBadPattern) || !strings.Contains(err.Error(), fmt.Sprintf("%q", bad)) {
			t.Errorf("ValidateGlobs(%q) = %v", bad, err)
		}
		err = CheckNames(layer.Tree{}, root, []string{bad})
		if !errors.Is(err, path.ErrBadPattern) {
			t.Errorf("CheckNames with %q = %v", bad, err)
		}
	}
}

func TestSecretErrorTellsAllAndTheWayOut(t *testing.T) {
	err := CheckNames(siteOf(t, nil, ".git/", ".git/.env", "it's[1]/.env"), root, nil)
	want := "checking the site: 2 files should not be published\n" +
		"  \".git\": it holds the history of the source\n" +
		"  \"it's[1]/.env\": it holds secrets by its name"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	var secret *SecretError
	errors.As(CheckNames(siteOf(t, nil, "it's[1]/.env"), root, nil), &secret)
	if !strings.HasSuffix(secret.Hint(), `--allow-secrets='it'\''s\[1]/.env'`) {
		t.Errorf("hint %q", secret.Hint())
	}
	want = `checking the site: "it's[1]/.env": it holds secrets by its name`
	if secret.Error() != want {
		t.Errorf("got %v\nwant %s", secret, want)
	}

	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("%02d/.env", i))
	}
	err = CheckNames(siteOf(t, nil, names...), root, nil)
	if got := found(t, err); len(got) != maxReported {
		t.Errorf("%d findings are told", len(got))
	}
	if !strings.HasSuffix(err.Error(), "\n  and 10 more") {
		t.Errorf("error %v", err)
	}
}

func TestCheckNamesJudgesTheSiteOnly(t *testing.T) {
	tree := layer.Tree{Entries: []layer.Entry{
		{Name: "srv", Kind: layer.Dir}, {Name: "srv/.git", Kind: layer.Dir},
		{Name: "srv/.git/www", Kind: layer.Dir}, {Name: "srv/.git/www/index.html"},
	}}
	if err := CheckNames(tree, "srv/.git/www", nil); err != nil {
		t.Error(err)
	}
	if err := CheckNames(tree, "", nil); err == nil {
		t.Error("the same names in a site at the root pass")
	}
}

func TestMissingIndex(t *testing.T) {
	tests := []struct {
		prefix string
		entry  layer.Entry
		want   bool
	}{
		{"", layer.Entry{Name: "index.html"}, false},
		{root, layer.Entry{Name: root + "/index.html"}, false},
		{root, layer.Entry{Name: root + "/index.html", Kind: layer.Link}, false},
		{root, layer.Entry{Name: root + "/index.html", Kind: layer.Dir}, true},
		{root, layer.Entry{Name: root + "/sub/index.html"}, true},
		{root, layer.Entry{Name: "index.html"}, true},
	}
	for _, tt := range tests {
		if got := MissingIndex([]layer.Entry{tt.entry}, tt.prefix); got != tt.want {
			t.Errorf("MissingIndex(%q, %q) = %v", tt.entry.Name, tt.prefix, got)
		}
	}
}

func FuzzAHintsGlobMatchesTheFinding(f *testing.F) {
	f.Add("a[b]*?\\.env")
	f.Fuzz(func(t *testing.T, name string) {
		if strings.Contains(name, "/") {
			return
		}
		if matched, err := path.Match(literal(name), name); err != nil || !matched {
			t.Errorf("%q does not match %q: %v", literal(name), name, err)
		}
	})
}

func BenchmarkCheckNames20000(b *testing.B) {
	var tree layer.Tree
	for i := range 20_000 {
		tree.Entries = append(tree.Entries, layer.Entry{
			Name: fmt.Sprintf("%s/assets/%02d/Chunk-%06x.js", root, i/500, i)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckNames(tree, root, nil); err != nil {
			b.Fatal(err)
		}
	}
}
