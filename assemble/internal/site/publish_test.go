package site

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func TestCheckTellsSecretsInNamesAndContentTogether(t *testing.T) {
	tree, a := analyse(t, map[string]string{
		"index.html": "x", ".env": secrets["npm"], "b.js": "\n" + secrets["GitHub"],
		"c/key.txt": realKey, "d.js": secrets["AWS"] + "\n" + secrets["Stripe"],
	}, ServeOptions{})
	_, err := Check(tree, a, CheckOptions{})
	want := "checking the site: 4 files should not be published\n" +
		"  \".env\": it holds secrets by its name\n" +
		"  \"b.js\":2: it holds a token of GitHub\n" +
		"  \"c/key.txt\":1: it holds a private key\n" +
		"  \"d.js\":1: it holds an access key of AWS\n" +
		"  \"d.js\":2: it holds a secret key of Stripe"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	for what, secret := range secrets {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the secret of %s", what)
		}
	}
	if _, err := Check(tree, a, CheckOptions{Allow: []string{".env", "*.js", "c"}}); err != nil {
		t.Errorf("all is allowed: %v", err)
	}
}

func TestCheckCountsWhatItDoesNotTell(t *testing.T) {
	files := map[string]string{"index.html": "x"}
	for i := range 30 {
		files[strings.Repeat("a", i+1)+".js"] = secrets["npm"]
	}
	tree, a := analyse(t, files, ServeOptions{})
	_, err := Check(tree, a, CheckOptions{})
	var secret *SecretError
	if !errors.As(err, &secret) || len(secret.Findings) != maxReported || secret.More != 10 {
		t.Errorf("Check = %v", err)
	}
}

func TestStrictCheckRefusesWarnings(t *testing.T) {
	tree, a := analyse(t, map[string]string{"index.html": "x", "a.js.map": "x"}, ServeOptions{})
	list, err := Check(tree, a, CheckOptions{})
	if err != nil || len(list) != 1 {
		t.Errorf("Check = %v, %v", list, err)
	}
	_, err = Check(tree, a, CheckOptions{Strict: true})
	var refused *WarningsError
	if !errors.As(err, &refused) || refused.Hint() == "" || !strings.Contains(err.Error(), `"a.js.map"`) {
		t.Errorf("strict: %v", err)
	}
}

func TestAnalyseFailsOnAFileThatChanged(t *testing.T) {
	for what, change := range map[string]func(string) error{
		"vanished": os.Remove,
		"changed":  func(name string) error { return os.WriteFile(name, []byte("longer than before"), 0o644) },
		"replaced": func(name string) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o755)) },
	} {
		tree := scanned(t, map[string]string{"index.html": "x"}, "")
		if err := change(filepath.Join(tree.Dir, "index.html")); err != nil {
			t.Fatal(err)
		}
		_, err := Analyse(t.Context(), tree, root, ServeOptions{})
		var changed *layer.ChangedError
		if !errors.As(err, &changed) || !strings.Contains(changed.What, what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAnalyseAndPrecompressStopWithTheirContext(t *testing.T) {
	tree := scanned(t, spa, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Analyse(ctx, tree, root, ServeOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Analyse = %v", err)
	}
	dir := t.TempDir()
	if _, err := Precompress(ctx, tree, dir, PrecompressOptions{Root: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("Precompress = %v", err)
	}
}
