package site

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// Analysis is what a site's files say of how to serve them. It is plain data: it may be
// written as JSON and kept for a site that did not change.
type Analysis struct {
	// WebRoot is the directory of the image that nginx serves, relative. The site lies
	// in it, or below it at the base path.
	WebRoot  string
	BasePath string // "/", or with both slashes

	Mode Mode   // SinglePage or MultiPage
	Why  string // it is that, as a clause
	// Fallback is what a path that is no file is answered with, as a path in the site;
	// "" is not found.
	Fallback string

	Pages  []Page // by path
	Hashed int    // how many files have a name with a hash
	// Rules tell hashed names from others.
	Rules []CacheRule
	// Legacy is set when a page or text is not UTF-8.
	Legacy bool
	// MakesStyles is set when a script puts style sheets into pages, and Wasm when one
	// runs WebAssembly.
	MakesStyles bool
	Wasm        bool
	// AppleApp says that there is a .well-known/apple-app-site-association.
	AppleApp bool

	Secrets  []Finding // in content, by path, some of each file
	Warnings []Warning // by path within their sort
}

// Page is an html file.
type Page struct {
	Path   string // in the site
	Unread bool   // it is larger than what is looked into
	// Scripts, Handlers and Styles are the sources that a policy has to name: hashes of
	// inline content, and addresses of other servers.
	Scripts  []string
	Handlers []string
	Styles   []string
}

// A Warning is something that may be published and is likely a mistake.
type Warning struct {
	Path string // in the site
	Line int    // 0 is the whole file
	What string // is the matter, as a clause
}

func (w Warning) String() string {
	if w.Line > 0 {
		return fmt.Sprintf("%q:%d: %s", w.Path, w.Line, w.What)
	}
	return fmt.Sprintf("%q: %s", w.Path, w.What)
}

// maxLarge is the size from which a file is told of.
const maxLarge = 25 << 20

// Analyse reads the files of a site, each once and several at a time. webRoot is the
// directory of the image that the server serves, relative; the site's entries are those
// below Place(webRoot, o.BasePath), and others are not looked at.
func Analyse(ctx context.Context, tree layer.Tree, webRoot string, o ServeOptions) (*Analysis, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	a := &Analysis{WebRoot: strings.Trim(webRoot, "/"), BasePath: o.base()}
	files := siteFiles(tree, Place(webRoot, o.BasePath))
	reports, err := readAll(ctx, tree.Dir, files)
	if err != nil {
		return nil, err
	}
	names := nameSet(tree, Place(webRoot, o.BasePath))
	workers := map[string]bool{}
	for i := range files {
		a.take(&files[i], &reports[i], workers)
	}
	a.AppleApp = names.has(appleApp)
	a.decideMode(names, reports, o)
	a.judgeNames(files, workers, a.loaded(files, reports))
	a.warn(files, reports, names, o)
	return a, nil
}

const appleApp = ".well-known/apple-app-site-association"

// file is one file of the site.
type file struct {
	path  string // in the site
	entry *layer.Entry
}

// siteFiles lists the files below prefix, by path.
func siteFiles(tree layer.Tree, prefix string) []file {
	var files []file
	for i := range tree.Entries {
		e := &tree.Entries[i]
		if name, inSite := below(e.Name, prefix); inSite && e.Kind == layer.File {
			files = append(files, file{name, e})
		}
	}
	return files
}

// names are those of a site; the value is whether it is a directory.
type names map[string]bool

func nameSet(tree layer.Tree, prefix string) names {
	all := names{}
	for i := range tree.Entries {
		if name, inSite := below(tree.Entries[i].Name, prefix); inSite {
			all[name] = tree.Entries[i].Kind == layer.Dir
		}
	}
	return all
}

func (n names) has(name string) bool {
	_, found := n[name]
	return found
}

// readAll reads files in parallel; the reports are in the order of files.
func readAll(ctx context.Context, dir string, files []file) ([]report, error) {
	reports := make([]report, len(files))
	if len(files) == 0 {
		return reports, nil
	}
	roots, err := openRoots(dir, files)
	if err != nil {
		return nil, err
	}
	defer roots.close()
	g, working := errgroup.WithContext(ctx)
	// A worker takes a run of files: one at a time would cost more than small files do.
	const run = 32
	g.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < len(files) && working.Err() == nil; from += run {
		g.Go(func() error {
			var r reader
			for i := from; i < min(from+run, len(files)); i++ {
				if err := working.Err(); err != nil {
					return err
				}
				if err := r.read(roots, files[i], &reports[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return reports, ctx.Err()
}

// roots are directories that files are read from; "" is the tree's.
type roots map[string]*os.Root

func openRoots(dir string, files []file) (roots, error) {
	r := roots{}
	for _, f := range files {
		if f.entry.Source == "" || r[f.entry.Base] != nil {
			continue
		}
		from := cmp.Or(f.entry.Base, dir)
		root, err := os.OpenRoot(from)
		if err != nil {
			r.close()
			return nil, fmt.Errorf("opening the site's directory: %w", err)
		}
		r[f.entry.Base] = root
	}
	return r, nil
}

func (r roots) close() {
	for _, root := range r {
		root.Close() // nothing was written
	}
}

// take adds what one file says.
func (a *Analysis) take(f *file, r *report, workers map[string]bool) {
	a.Legacy = a.Legacy || r.legacy
	a.MakesStyles = a.MakesStyles || r.makesStyles
	a.Wasm = a.Wasm || r.wasm
	for _, s := range r.secrets {
		s.Path = f.path
		a.Secrets = append(a.Secrets, s)
	}
	for _, w := range r.workers {
		workers[a.resolve("", w)] = true
	}
	if r.page != nil {
		a.Pages = append(a.Pages, Page{Path: f.path, Unread: r.page.unread,
			Scripts: r.page.scripts, Handlers: r.page.handlers, Styles: r.page.styles})
	}
}

// loaded are the paths in the site of what its pages load.
func (a *Analysis) loaded(files []file, reports []report) map[string]bool {
	all := map[string]bool{}
	for i, f := range files {
		if p := reports[i].page; p != nil {
			for _, ref := range p.refs {
				all[a.resolve(a.pageDir(f.path, p), ref.url)] = true
			}
		}
	}
	return all
}

// pageDir is the directory that the references of a page start at.
func (a *Analysis) pageDir(name string, p *page) string {
	dir := path.Dir(name)
	if p.base == "" {
		return dir
	}
	return a.resolve(dir, strings.TrimSuffix(p.base, "/")+"/.")
}

// decideMode finds out what a path that is no file means.
func (a *Analysis) decideMode(all names, reports []report, o ServeOptions) {
	switch o.Mode {
	case SinglePage, MultiPage:
		a.Mode, a.Why = o.Mode, "it was asked for"
	default:
		a.Mode, a.Why = a.guessMode(all, o.FrameworkHint)
	}
	switch {
	case a.Mode == SinglePage && !all.has("index.html") && all.has("200.html"):
		a.Fallback = "200.html"
	case a.Mode == SinglePage:
		a.Fallback = "index.html"
	case all.has("200.html") && o.Mode != MultiPage:
		a.Fallback = "200.html"
	}
}

func (a *Analysis) guessMode(all names, hint Mode) (Mode, string) {
	pages := slices.DeleteFunc(slices.Clone(a.Pages), func(p Page) bool { return isErrorPage(p.Path) })
	switch {
	case all.has("200.html"):
		return MultiPage, "it has a 200.html for paths that are no page"
	case !all.has("index.html"):
		return MultiPage, "it has no index.html at its top"
	case hint == SinglePage || hint == MultiPage:
		return hint, "its framework makes such sites"
	case len(pages) > 1:
		return MultiPage, fmt.Sprintf("it has %d pages", len(pages))
	case all.has("404.html"):
		return MultiPage, "it has a 404.html"
	}
	return SinglePage, "index.html is its only page"
}

func isErrorPage(name string) bool {
	switch name {
	case "404.html", "404/index.html", "500.html", "50x.html":
		return true
	}
	return false
}

// resolve is the path in the site that a reference on a page at pageDir leads to; "" is
// another server, or nothing that a file could be.
func (a *Analysis) resolve(pageDir, ref string) string {
	if p, rooted := strings.CutPrefix(ref, "/"); rooted {
		inSite, found := strings.CutPrefix("/"+p, a.BasePath)
		if !found {
			return ""
		}
		return path.Clean(inSite)
	}
	return path.Join(pageDir, ref)
}
