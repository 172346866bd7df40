package main

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/decant-build/decant/assemble"
)

func TestDestinations(t *testing.T) {
	store := t.TempDir()
	t.Setenv("DECANT_STORE_DIR", store)
	inStore := func(names ...string) assemble.Output {
		return assemble.Output{Kind: assemble.Store, Path: store, Names: names}
	}
	for _, c := range []struct {
		name    string
		repo    string
		tags    []string
		outputs []string
		want    destinations
		err     bool
	}{
		{name: "host", tags: []string{"r.test/web:1"}, want: destinations{refs: []string{"r.test/web:1"}}},
		{name: "port", tags: []string{"localhost:5000/web"}, want: destinations{refs: []string{"localhost:5000/web"}}},
		{name: "plain name goes to the store", tags: []string{"web:1"},
			want: destinations{outputs: []assemble.Output{inStore("web:1")}}},
		{name: "two elements without a host go to the store", tags: []string{"me/web"},
			want: destinations{outputs: []assemble.Output{inStore("me/web")}}},
		{name: "both", tags: []string{"web", "localhost/web"},
			want: destinations{refs: []string{"localhost/web"}, outputs: []assemble.Output{inStore("web")}}},
		{name: "no tag", want: destinations{outputs: []assemble.Output{inStore("project")}}},
		{name: "DECANT_REPO", repo: "r.test/team/", want: destinations{refs: []string{"r.test/team/project"}}},
		{name: "output only", tags: []string{"r.test/web:1"}, outputs: []string{"oci:out"},
			want: destinations{outputs: []assemble.Output{
				{Kind: assemble.Layout, Path: "out", Names: []string{"r.test/web:1"}}}}},
		{name: "registry and archive", tags: []string{"r.test/web:1"}, outputs: []string{"registry", "docker-archive:w.tar"},
			want: destinations{refs: []string{"r.test/web:1"}, outputs: []assemble.Output{
				{Kind: assemble.DockerArchive, Path: "w.tar", Names: []string{"r.test/web:1"}}}}},
		{name: "registry without host", tags: []string{"web"}, outputs: []string{"registry"}, err: true},
		{name: "unknown output", outputs: []string{"tar:x"}, err: true},
		{name: "output without path", outputs: []string{"oci:"}, err: true},
		{name: "upper case", tags: []string{"r.test/Web"}, err: true},
		{name: "digest as tag", tags: []string{"r.test/web@sha256:" + string(make([]byte, 64))}, err: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("DECANT_REPO", c.repo)
			o := buildOptions{tags: c.tags, outputs: c.outputs}
			got, err := o.destinations("project")
			if c.err {
				if !isUsage(err) {
					t.Fatalf("error %v, want one about usage", err)
				}
				var h interface{ Hint() string }
				if !errors.As(err, &h) || h.Hint() == "" {
					t.Errorf("no hint in %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(destinations{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProjectName(t *testing.T) {
	for _, c := range []struct{ dir, pkg, want string }{
		{"shop/dist", "", "shop"},
		{"shop/web", "", "web"},
		{"shop", "@acme/Web_App", "web-app"},
		{"My Site!", "", "my-site"},
		{"///", "", "site"},
	} {
		dir := c.dir
		if c.dir != "///" {
			dir = filepath.Join(t.TempDir(), c.dir)
		}
		if got := projectName(dir, &settings{packageName: c.pkg}); got != c.want {
			t.Errorf("projectName(%q, %q) = %q, want %q", c.dir, c.pkg, got, c.want)
		}
	}
}
