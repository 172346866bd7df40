package plan

import (
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// SiteModes are the modes of a published site: readable by whoever the server
// runs as, whatever the umask of the build was.
const SiteModes = "u=rwX,go=rX"

// PrebuiltOptions describe a finished site on a base.
type PrebuiltOptions struct {
	Base string
	// Dist is the site's directory with slashes, as the user wrote it.
	Dist    string
	WebRoot string

	Labels map[string]string
	Env    []string // K=V
	Ports  []string
	User   string
}

// Prebuilt is the plan for a finished site: one copy onto the base.
func Prebuilt(o PrebuiltOptions) Plan {
	site := Copy{Sources: []string{Literal(path.Clean(o.Dist)) + "/"}, Dest: Dir(o.WebRoot),
		Chmod: SiteModes}
	if !filepath.IsLocal(filepath.FromSlash(o.Dist)) {
		// A context cannot reach outside itself, so that the site has to be one.
		site.Sources = []string{"./"}
		site.Why = "the context is " + o.Dist
	}
	return Plan{Stages: []Stage{{Base: o.Base, Steps: append([]Step{site}, Config(o)...)}}}
}

// Config is the steps for the image configuration of o, in a fixed order.
func Config(o PrebuiltOptions) []Step {
	var steps []Step
	for _, kv := range o.Env {
		name, value, _ := strings.Cut(kv, "=")
		steps = append(steps, Env{Name: name, Value: value})
	}
	for _, key := range slices.Sorted(maps.Keys(o.Labels)) {
		steps = append(steps, Label{Key: key, Value: o.Labels[key]})
	}
	for _, port := range o.Ports {
		steps = append(steps, Expose{Port: port})
	}
	if o.User != "" {
		steps = append(steps, User{Name: o.User})
	}
	return steps
}

// Dir is the path of a directory with one slash at its end, as Copy.Dest wants
// it: without, one source that is a file would become the destination itself.
func Dir(name string) string {
	return strings.TrimSuffix(path.Clean(name), "/") + "/"
}
