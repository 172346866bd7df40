package site

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// maxTold is how many warnings of one sort are told one by one.
const maxTold = 5

// warn collects what is likely a mistake, sort by sort.
func (a *Analysis) warn(files []file, reports []report, all names, o ServeOptions) {
	a.tell(mapWarnings(files, reports))
	var local, large []Warning
	for i, f := range files {
		if line := reports[i].localhost; line > 0 {
			local = append(local, Warning{f.path, line, "it has an address of the machine that built it"})
		}
		if f.entry.Size > maxLarge {
			large = append(large, Warning{f.path, 0, fmt.Sprintf("it has %d MiB", f.entry.Size>>20)})
		}
	}
	a.tell(local)
	a.tell(large)
	a.tell(a.missing(files, reports, all, o))
	a.tell(sameButCase(all))
	a.tell(a.aboutServing(files, reports, all, o))
}

// tell adds warnings of one sort, and says how many more there are.
func (a *Analysis) tell(sort []Warning) {
	if more := len(sort) - maxTold; more > 1 {
		sort = sort[:maxTold]
		sort[maxTold-1].What += fmt.Sprintf(" (and %d more)", more)
	}
	a.Warnings = append(a.Warnings, sort...)
}

// mapWarnings are about source maps: one for all files, and one for those in comments.
func mapWarnings(files []file, reports []report) []Warning {
	var first *file
	count := 0
	var list []Warning
	for i := range files {
		if strings.HasSuffix(files[i].path, ".map") {
			if count == 0 {
				first = &files[i]
			}
			count++
		}
		if line := reports[i].inlineMap; line > 0 && len(list) == 0 {
			list = append(list, Warning{files[i].path, line, "it has the source in it, as a source map"})
		}
	}
	switch count {
	case 0:
		return list
	case 1:
		return append(list, Warning{first.path, 0, "it is a source map: everybody can read the source"})
	}
	return append(list, Warning{first.path, 0,
		fmt.Sprintf("it is the first of %d source maps: everybody can read the source", count)})
}

// missing are files that pages load and the site does not have.
func (a *Analysis) missing(files []file, reports []report, all names, o ServeOptions) []Warning {
	first := map[string]Warning{}
	for i, f := range files {
		p := reports[i].page
		if p == nil || strings.Contains(p.base, "//") {
			continue // no page, or one that loads from another server
		}
		for _, ref := range p.refs {
			target, known := a.lookup(a.pageDir(f.path, p), ref.url, all, o)
			if known {
				continue
			}
			if _, told := first[target]; !told {
				first[target] = Warning{f.path, ref.line,
					fmt.Sprintf("it loads %q, which is not there", ref.url)}
			}
		}
	}
	if prefix := commonPrefix(first, all); prefix != "" {
		// One mistake, and not many.
		return []Warning{{"index.html", 0, fmt.Sprintf(
			"the site was built to be at %s, and would be at %s: give its base path", prefix, a.BasePath)}}
	}
	list := slices.Collect(maps.Values(first))
	slices.SortFunc(list, func(x, y Warning) int {
		return cmp.Or(cmp.Compare(x.Path, y.Path), cmp.Compare(x.Line, y.Line), cmp.Compare(x.What, y.What))
	})
	return list
}

// lookup says where a reference leads, and whether something is there.
func (a *Analysis) lookup(dir, ref string, all names, o ServeOptions) (target string, known bool) {
	rooted := strings.HasPrefix(ref, "/")
	for _, p := range o.Proxies {
		bare := strings.TrimSuffix(p.Path, "/")
		if rooted && (ref == bare || strings.HasPrefix(ref, bare+"/")) {
			return "", true
		}
	}
	target = a.resolve(dir, ref)
	switch {
	case target == "" && rooted:
		return ref, false // beside the base path
	case target == "" || target == "." || strings.HasPrefix(target, ".."):
		return target, true
	case target == envName && len(o.RuntimeEnv) > 0:
		return target, true
	}
	return target, all.has(target) || all.has(target+"/index.html")
}

// commonPrefix is the base path that a site was built for, when all that its pages miss
// is there without it.
func commonPrefix(missing map[string]Warning, all names) string {
	prefix := ""
	for target := range missing {
		first, rest, found := strings.Cut(strings.TrimPrefix(target, "/"), "/")
		if !found || prefix != "" && first != prefix || !all.has(rest) {
			return ""
		}
		prefix = first
	}
	if prefix == "" {
		return ""
	}
	return "/" + prefix + "/"
}

// sameButCase are names that are one on a file system that ignores case.
func sameButCase(all names) []Warning {
	byFold := map[string]string{}
	var list []Warning
	for _, name := range slices.SortedFunc(maps.Keys(all), layer.Compare) {
		fold := strings.ToLower(name)
		if other, taken := byFold[fold]; taken {
			list = append(list, Warning{name, 0, fmt.Sprintf("it differs from %q in case only", other)})
			continue
		}
		byFold[fold] = name
	}
	return list
}

// aboutServing are mistakes that only show when the site is served as it will be.
func (a *Analysis) aboutServing(files []file, reports []report, all names, o ServeOptions) []Warning {
	var list []Warning
	if all.has("nginx.conf") {
		list = append(list, Warning{"nginx.conf", 0, "it is published, and configures nothing"})
	}
	loadsEnv := false
	for i, f := range files {
		p := reports[i].page
		if p == nil {
			continue
		}
		if p.unread {
			list = append(list, Warning{f.path, 0, "it is too large a page to be looked into"})
		}
		relative := false
		for _, ref := range p.refs {
			loadsEnv = loadsEnv || a.resolve(path.Dir(f.path), ref.url) == envName
			relative = relative || !strings.HasPrefix(ref.url, "/")
		}
		if a.Mode == SinglePage && f.path == a.Fallback && relative && p.base == "" {
			list = append(list, Warning{f.path, 0, "it names files relatively: from an address of " +
				"several parts they are not found; build with an absolute base"})
		}
	}
	if len(o.RuntimeEnv) > 0 && !loadsEnv {
		list = append(list, Warning{"index.html", 0,
			fmt.Sprintf("no page loads %s%s, where the variables of the container will be",
				a.BasePath, envName)})
	}
	return list
}
