package site

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// CheckOptions says what passes.
type CheckOptions struct {
	// Allow are patterns as those of CheckNames. What is in a file that one matches
	// passes, too.
	Allow []string
	// Strict makes an error of warnings.
	Strict bool
}

// WarningsError is a site with warnings, where none are allowed.
type WarningsError struct{ Warnings []Warning }

func (e *WarningsError) Error() string {
	var b strings.Builder
	b.WriteString("checking the site: it has warnings, and the check is strict")
	for _, w := range e.Warnings {
		b.WriteString("\n  " + w.String())
	}
	return b.String()
}

// Hint returns the way out.
func (e *WarningsError) Hint() string {
	return "correct what is told, or let the check warn only: --check warn"
}

// Check says what is likely a mistake in a site, and refuses one that holds secrets, with
// a *SecretError that tells of those in names and those in content together. a is the
// analysis of tree.
func Check(tree layer.Tree, a *Analysis, o CheckOptions) ([]Warning, error) {
	var secret *SecretError
	err := CheckNames(tree, Place(a.WebRoot, a.BasePath), o.Allow)
	if err != nil && !errors.As(err, &secret) {
		return a.Warnings, err
	}
	if secret == nil {
		secret = &SecretError{}
	}
	named := map[string]bool{}
	for _, f := range secret.Findings {
		named[f.Path] = true
	}
	c := checker{allow: o.Allow}
	for _, f := range a.Secrets {
		switch known := named[f.Path]; {
		case known && secret.whole(f.Path) || c.allowed(f.Path):
		case len(secret.Findings) < maxReported:
			secret.Findings = append(secret.Findings, f)
			named[f.Path] = true
		case !known:
			secret.More++
			named[f.Path] = true
		}
	}
	if len(secret.Findings) > 0 {
		slices.SortStableFunc(secret.Findings, func(x, y Finding) int {
			return cmp.Or(layer.Compare(x.Path, y.Path), cmp.Compare(x.Line, y.Line))
		})
		return a.Warnings, secret
	}
	if o.Strict && len(a.Warnings) > 0 {
		return a.Warnings, &WarningsError{a.Warnings}
	}
	return a.Warnings, nil
}

// whole says that the file itself is told of, by its name.
func (e *SecretError) whole(name string) bool {
	return slices.ContainsFunc(e.Findings, func(f Finding) bool { return f.Path == name && f.Line == 0 })
}
