package project

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// maxPages bounds the search for pages in what a build wrote.
const (
	maxPages     = 10_000
	maxFiles     = 2_000_000
	maxPageDepth = 12
)

// Pages are the directories of a tree that have a page to enter by, and how
// that page is.
type Pages map[string]Page

// Page is an index.html, or a 200.html where that is the only one.
type Page struct {
	Size    int64
	ModTime time.Time
}

// FindPages lists the pages of the project in fsys, without node_modules and
// .git. Its result from before a build tells FindOutput what the build wrote.
func FindPages(fsys fs.FS) (Pages, error) {
	pages := Pages{}
	files := 0
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if files++; files > maxFiles || len(pages) > maxPages {
			return errors.New("more files than decant looks at")
		}
		if err != nil {
			if name == "." {
				return err
			}
			return nil // what cannot be read is no site
		}
		base := path.Base(name)
		if d.IsDir() {
			if base == "node_modules" || base == ".git" || strings.Count(name, "/") > maxPageDepth {
				return fs.SkipDir
			}
			return nil
		}
		dir := path.Dir(name)
		_, known := pages[dir]
		if !d.Type().IsRegular() || base != "index.html" && (base != "200.html" || known) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil // removed while we look: no site either
		}
		pages[dir] = Page{Size: info.Size(), ModTime: info.ModTime()}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for pages: %w", err)
	}
	return pages, nil
}

// FindOutput returns the directory of the site that a build wrote into fsys, the
// project's root: the one the user named, or the first expected one with a new
// page, or else the only directory with a new page and none above it. before is
// what FindPages said before the build. The directory is a real one, not
// a link, nor below one.
func (p *Project) FindOutput(fsys fs.FS, before Pages) (dir string, err error) {
	if p.OutputGiven {
		return givenOutput(fsys, p.OutputDirs[0])
	}
	after, err := FindPages(fsys)
	if err != nil {
		return "", err
	}
	written := func(dir string) bool {
		now, ok := after[dir]
		was, had := before[dir]
		return ok && (!had || now.Size != was.Size || !now.ModTime.Equal(was.ModTime))
	}
	for _, dir := range p.OutputDirs {
		if real, err := followDir(fsys, dir); err == nil && written(real) {
			return real, nil
		}
	}
	var found []string
	for dir := range after {
		if written(dir) {
			found = append(found, dir)
		}
	}
	found = topmost(found)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", p.noOutput(fsys)
	}
	return "", &OutputError{What: "several directories have a new index.html: " + shortList(found),
		Candidates: found, Fix: fmt.Sprintf("choose one, as --output-dir %s", p.relative(found[0]))}
}

// givenOutput checks the directory that the user named. It need not have a page:
// that is the user's word.
func givenOutput(fsys fs.FS, dir string) (string, error) {
	real, err := followDir(fsys, dir)
	if err == nil {
		return real, nil
	}
	e := &OutputError{What: fmt.Sprintf("%s: %v", dir, err), Candidates: []string{dir},
		Fix: "check --output-dir: it is relative to the project's package.json"}
	if isNotExist(err) {
		e.What = fmt.Sprintf("the build did not make %s", dir)
	}
	return "", e
}

// noOutput says what there is instead.
func (p *Project) noOutput(fsys fs.FS) error {
	e := &OutputError{What: "the build wrote no index.html",
		Fix: "check that its build script builds the site, or name the directory with --output-dir"}
	for _, dir := range p.OutputDirs {
		if info, err := fs.Stat(fsys, dir); err == nil && info.IsDir() && dir != "." {
			e.Candidates = append(e.Candidates, dir)
		}
	}
	for _, dir := range p.OutputDirs {
		if _, err := followDir(fsys, dir); errors.Is(err, errLinkOut) {
			e.What += fmt.Sprintf("; %s is %v", dir, err)
			return e
		}
	}
	if len(e.Candidates) > 0 {
		e.What += "; there is " + shortList(e.Candidates)
		e.Fix = fmt.Sprintf("if that is the site, use --output-dir %s", p.relative(e.Candidates[0]))
	}
	return e
}

// relative is dir as --output-dir takes it.
func (p *Project) relative(dir string) string {
	if p.Dir == "." {
		return dir
	}
	if rest, ok := strings.CutPrefix(dir, p.Dir+"/"); ok {
		return rest
	}
	return strings.Repeat("../", strings.Count(p.Dir, "/")+1) + dir
}

// topmost drops directories below others of the list, and sorts it.
func topmost(dirs []string) []string {
	slices.SortFunc(dirs, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(a, b))
	})
	var top []string
	for _, dir := range dirs {
		below := slices.ContainsFunc(top, func(t string) bool {
			return t == "." || strings.HasPrefix(dir, t+"/")
		})
		if !below {
			top = append(top, dir)
		}
	}
	return top
}

func shortList(dirs []string) string {
	const most = 8
	if len(dirs) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(dirs[:most], ", "), len(dirs)-most)
	}
	return strings.Join(dirs, ", ")
}

var (
	errLinkOut = errors.New("a link that leads out of the project")
	errNotDir  = errors.New("not a directory")
)

// followDir resolves the links in a path of fsys, each of which has to stay
// inside. fsys without links has none to follow.
func followDir(fsys fs.FS, name string) (string, error) {
	const maxLinks = 16
	links := 0
	real := "."
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		next := path.Join(real, rest[0])
		rest = rest[1:]
		if !fs.ValidPath(next) {
			return "", errLinkOut
		}
		info, err := fs.Lstat(fsys, next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			real = next
			continue
		}
		target, err := fs.ReadLink(fsys, next)
		if links++; err != nil || path.IsAbs(target) || links > maxLinks {
			return "", errLinkOut
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	info, err := fs.Stat(fsys, real)
	if err == nil && !info.IsDir() {
		err = errNotDir
	}
	return real, err
}
