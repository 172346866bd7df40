package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The columns of the README's table that are measured here.
const (
	stockColumn  = 1
	guideColumn  = 2
	decantColumn = 5
)

// A question is a row of the table: what a server does, in the words of a cell.
type question struct {
	row string
	ask func(t *testing.T, p *peer) string
}

// peer is a served image with the sample site. The image is asked for what a
// running one does not show.
type peer struct{ url, image string }

var questions = []question{
	{"an address of the application, loaded anew", func(t *testing.T, p *peer) string {
		return page(fetch(t, p.url+"/orders/42"))
	}},
	{"a script of an older release", func(t *testing.T, p *peer) string {
		return page(fetch(t, p.url+"/assets/orders-Jd2w6Pk9.js"))
	}},
	{"how long browsers keep `app-Bk3d9Xq1.js`", func(t *testing.T, p *peer) string {
		return kept(fetch(t, p.url+"/assets/app-Bk3d9Xq1.js"))
	}},
	{"`sw.js`, a service worker", func(t *testing.T, p *peer) string {
		return kept(fetch(t, p.url+"/sw.js"))
	}},
	{"`index.html`", func(t *testing.T, p *peer) string { return kept(fetch(t, p.url+"/")) }},
	{"the type of `.mjs`", func(t *testing.T, p *peer) string {
		got := fetch(t, p.url+"/lib/greet.mjs")
		if strings.HasPrefix(got.header.Get("Content-Type"), "text/javascript") {
			return "script"
		}
		return "no script: fails"
	}},
	{"gzip", func(t *testing.T, p *peer) string {
		got := fetch(t, p.url+"/assets/vendor-Zt6m1Ws9.js", "Accept-Encoding", "gzip")
		switch {
		case got.header.Get("Content-Encoding") != "gzip":
			return "no"
		case strings.HasPrefix(got.header.Get("ETag"), "W/"):
			return "anew each time"
		}
		return "once, in the image"
	}},
	{"`/docs`, a directory with a page", func(t *testing.T, p *peer) string {
		got := fetch(t, p.url+"/docs")
		switch to := got.header.Get("Location"); {
		case strings.HasPrefix(to, "http") && !strings.HasPrefix(to, p.url):
			return "to a wrong port"
		case strings.Contains(got.body, "A page of its own"):
			return "the page"
		}
		return page(got)
	}},
	{"`.vite/manifest.json`", func(t *testing.T, p *peer) string {
		if fetch(t, p.url+"/.vite/manifest.json").status == http.StatusNotFound {
			return "404"
		}
		return "published"
	}},
	{"`nosniff`", func(t *testing.T, p *peer) string {
		return yes(fetch(t, p.url+"/").header.Get("X-Content-Type-Options") == "nosniff")
	}},
	{"`/healthz`", func(t *testing.T, p *peer) string {
		got := fetch(t, p.url+"/healthz")
		return yes(got.status == http.StatusOK && got.body == "ok\n")
	}},
	{"any user, read-only root, `/tmp` only", func(t *testing.T, p *peer) string {
		fault := readOnlyFault(t, p.image)
		if fault != "" && !strings.Contains(fault, "Read-only file system") {
			t.Errorf("it does not start, but because of %s", fault)
		}
		return yes(fault == "")
	}},
	{"variables of the container in the page", func(t *testing.T, p *peer) string {
		return yes(strings.Contains(fetch(t, p.url+"/env.js").body, `"PUBLIC_NAME": "you"`))
	}},
	{"a policy for the scripts it has", func(t *testing.T, p *peer) string {
		return yes(strings.Contains(fetch(t, p.url+"/").header.Get("Content-Security-Policy"), "'sha256-"))
	}},
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

// page tells the application's page from an error.
func page(got fetched) string {
	switch {
	case got.status == http.StatusNotFound:
		return "404"
	case got.status == http.StatusOK && strings.Contains(got.body, `id="app"`):
		return "the application"
	}
	return http.StatusText(got.status)
}

// kept is what Cache-Control comes to.
func kept(got fetched) string {
	control := strings.Join(got.header.Values("Cache-Control"), ", ")
	switch {
	case control == "":
		return "as they guess"
	case control == "no-cache":
		return "asks each time"
	case strings.Contains(control, "max-age=31536000"):
		return "a year"
	}
	return control
}

// TestReadmeTellsHowPeersServe measures the columns of the README's table that can be
// measured here.
func TestReadmeTellsHowPeersServe(t *testing.T) {
	w := newServeWorld(t)
	defer w.close(t)
	table := servingTable(t)
	if len(table) != len(questions)+1 {
		t.Errorf("the table has %d rows, and %d questions", len(table), len(questions))
	}
	guide, err := os.ReadFile("../../testdata/serve/guide.conf")
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(w.user.home, "guide.conf")
	if err := os.WriteFile(conf, guide, 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"--env", "PUBLIC_NAME=you"}
	for _, c := range []struct {
		name, base string
		column     int
		args       []string
	}{
		{"stock", "official", stockColumn, []string{"--serve", "off"}},
		{"guide", "unprivileged", guideColumn, []string{"--serve", conf}},
		{"decant", "official", decantColumn, []string{"--spa", "--csp", "auto", "--runtime-env", "PUBLIC_",
			"--user", "101", "--port", "8080"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := w.build(t, w.tableSite(t), c.base, append(env, c.args...)...)
			r := w.serve(t, image, 0)
			defer r.stop(t)
			for _, q := range questions {
				if cells := table[q.row]; cells == nil {
					t.Errorf("the table has no row %q", q.row)
				} else if got := q.ask(t, &peer{r.url, image}); got != cells[c.column] {
					t.Errorf("%s: %q, and the table says %q", q.row, got, cells[c.column])
				}
			}
		})
	}
}

// tableSite is the sample site with a page beside the application's.
func (w *serveWorld) tableSite(t *testing.T) string {
	t.Helper()
	dir := w.site(t, "shop-1", nil)
	if err := os.Mkdir(filepath.Join(dir, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := []byte("<!doctype html><title>Docs</title><p>A page of its own.\n")
	if err := os.WriteFile(filepath.Join(dir, "docs/index.html"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// servingTable reads the cells of the README's table by the first of each row.
func servingTable(t *testing.T) map[string][]string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Served right\n")
	if !found {
		t.Fatal("the README has no section on serving")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	table := map[string][]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) == decantColumn+1 && !strings.HasPrefix(cells[0], "-") && cells[0] != "" {
			table[cells[0]] = cells
		}
	}
	return table
}
