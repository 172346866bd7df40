package filetree

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/decant-build/decant/assemble/internal/layer"
)

func TestAddUnpacksArchives(t *testing.T) {
	stage := stack(t, stageText)
	from := stack(t, "f 644 0:0 x.tar T\n f 644 0:0 plain P\n")
	archive := parse(t, `
		f 755 8:8 bin/new N
		d 700 8:8 etc
		h etc/again bin/new
		f 644 8:8 app F
		d 755 8:8 html
		f 644 8:8 lost/found L`)
	unpack := func(_ context.Context, e layer.Entry) ([]layer.Entry, bool, error) {
		return archive, e.Name == "x.tar", nil
	}
	spec := CopySpec{From: from, Sources: []string{"x.tar", "plain"}, Dest: "/", Unpack: unpack,
		ResetOwner: true}
	got, err := stage.Copy(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	// A link on the way is followed; what is in the way of an entry is replaced.
	wantEntries(t, got, `
		f 644 8:8 app F
		d 700 8:8 etc
		f 755 8:8 etc/again N
		d 755 8:8 html
		d 755 0:0 lost
		f 644 8:8 lost/found L
		f 644 0:0 plain P
		h usr/bin/new etc/again`)

	spec.Sources, spec.Dest, spec.Owner = []string{"x.tar"}, "/opt/x", &Owner{2, 3}
	if got, err = stage.Copy(context.Background(), spec); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, `
		d 755 2:3 opt
		d 755 2:3 opt/x
		f 644 2:3 opt/x/app F
		d 755 0:0 opt/x/bin
		f 755 2:3 opt/x/bin/new N
		d 700 2:3 opt/x/etc
		h opt/x/etc/again opt/x/bin/new
		d 755 2:3 opt/x/html
		d 755 0:0 opt/x/lost
		f 644 2:3 opt/x/lost/found L`)
}

func TestAddRefusesAnArchiveThatDoesNotFit(t *testing.T) {
	for name, archive := range map[string]string{
		"below a file":               "f 644 0:0 etc/conf/x X",
		"a hard link to nothing":     "h a b",
		"a hard link to a directory": "d 755 0:0 d\n h a d",
	} {
		unpack := func(context.Context, layer.Entry) ([]layer.Entry, bool, error) {
			return parse(t, archive), true, nil
		}
		_, err := stack(t, stageText).Copy(context.Background(), CopySpec{From: stack(t, sourceText),
			Sources: []string{"a.txt"}, Dest: "/", Unpack: unpack})
		if err == nil || !strings.Contains(err.Error(), `unpacking "a.txt"`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMkdir(t *testing.T) {
	stage := stack(t, stageText)
	for dir, want := range map[string]string{
		"/":           "",
		"/app/keep":   "",
		"/html":       "",
		"/app/a/b":    "d 755 5:6 app/a\n d 755 5:6 app/a/b",
		"/html/x":     "d 755 5:6 srv/www/x",
		"/dangling":   "d 755 5:6 nowhere\n d 755 5:6 nowhere/far",
		"/../../root": "d 755 5:6 root",
	} {
		got, err := stage.Mkdir(dir, 5, 6, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		wantEntries(t, got, want)
	}
	if _, err := stage.Mkdir("/etc/link", 0, 0, 0o755); !errors.Is(err, ErrNotDir) {
		t.Errorf("got %v", err)
	}
}

func TestMergeLaysOneChangeSetOnAnother(t *testing.T) {
	stage := stack(t, stageText)
	first, err := stage.Copy(context.Background(),
		CopySpec{From: stack(t, sourceText), Sources: []string{"hard"}, Dest: "/new/"})
	if err != nil {
		t.Fatal(err)
	}
	after := stage.Clone()
	if err := after.Apply(first, 1); err != nil {
		t.Fatal(err)
	}
	second, err := after.Copy(context.Background(),
		CopySpec{From: stack(t, "f 644 0:0 one heredoc"), Sources: []string{"one"}, Dest: "/new/"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Merge(first, second)
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, got, `
		d 755 0:0 new
		f 644 0:0 new/one heredoc
		f 644 5:5 new/two 1`)
}
