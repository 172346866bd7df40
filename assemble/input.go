package assemble

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/decant-build/decant/assemble/internal/plan"
)

// input is what a build starts from.
type input struct {
	// dist is the absolute directory of the finished site.
	dist string
	// name is dist as the user wrote it, for messages and the plan.
	name string
	// why says how it was chosen.
	why string
}

// findInput decides what dir is. dist, if set, forces a prebuilt site.
func findInput(dir, dist string) (input, error) {
	if dist != "" {
		if !filepath.IsAbs(dist) {
			dist = filepath.Join(dir, dist)
		}
		return prebuilt(dist, "--dist")
	}
	if _, err := os.Stat(filepath.Join(dir, "index.html")); err == nil {
		return prebuilt(dir, "it has an index.html")
	}
	if err := checkDirectory(dir); err != nil {
		return input{}, err
	}
	return input{}, noInput(dir)
}

func prebuilt(dist, why string) (input, error) {
	if err := checkDirectory(dist); err != nil {
		return input{}, err
	}
	abs, err := filepath.Abs(dist)
	return input{dist: abs, name: dist, why: why}, err
}

func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &InputError{Dir: dir, What: "no such directory",
			Fix: "build the site first, or name the directory that has its index.html"}
	case err != nil:
		return &InputError{Dir: dir, What: reason(err), Fix: "make it readable to this user"}
	case !info.IsDir():
		return &InputError{Dir: dir, What: "not a directory",
			Fix: "name the directory that has the site's index.html"}
	}
	return nil
}

// reason is the system's word without the operation and the path, which the
// error around it has.
func reason(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// siteDirs are where tools leave a finished site, most likely first.
var siteDirs = []string{"dist", "build", "out", "public", "_site", ".output/public", "www"}

// noInput explains a directory without an index.html.
func noInput(dir string) error {
	e := &InputError{Dir: dir, What: "no index.html in it",
		Fix: "name the directory that has the site's index.html, or use --dist DIR for a site without one"}
	for _, sub := range siteDirs {
		site := filepath.Join(dir, filepath.FromSlash(sub))
		if _, err := os.Stat(filepath.Join(site, "index.html")); err == nil {
			e.Fix = fmt.Sprintf("the site in %s can be built with: decant build %s --dist %s", site, dir, site)
			return e
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		e.Fix = "run the project's own build first (npm run build), then pass its output with --dist DIR"
	}
	return e
}

// plan is what the build does, as data.
func (b *build) plan() plan.Plan {
	return plan.Prebuilt(plan.PrebuiltOptions{
		Base: b.Base, Dist: filepath.ToSlash(b.input.name), WebRoot: b.WebRoot,
		Labels: b.Labels, Env: b.Env, Ports: b.Ports, User: b.User,
	})
}
