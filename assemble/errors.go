package assemble

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// UsageError is a malformed option: the caller fixes it there, and nothing was
// touched.
type UsageError struct {
	Err error
	Fix string
}

func (e *UsageError) Error() string { return e.Err.Error() }
func (e *UsageError) Unwrap() error { return e.Err }

// Usage is always true.
func (e *UsageError) Usage() bool { return true }

// Hint says what to write instead.
func (e *UsageError) Hint() string { return e.Fix }

func usagef(fix, format string, args ...any) error {
	return &UsageError{Err: fmt.Errorf(format, args...), Fix: fix}
}

// InputError is an input directory that cannot be built.
type InputError struct {
	Dir, What, Fix string
}

func (e *InputError) Error() string { return fmt.Sprintf("reading %s: %s", e.Dir, e.What) }

// Hint says how to get a directory that can be built.
func (e *InputError) Hint() string { return e.Fix }

// PlatformError is a platform that the base does not have.
type PlatformError struct {
	Base, Platform string
	Have           []string
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("base %s: no image for %s", e.Base, e.Platform)
}

// Hint lists what there is.
func (e *PlatformError) Hint() string {
	if len(e.Have) == 0 {
		return "it has no image at all: choose another"
	}
	return "it has " + strings.Join(e.Have, ", ") + "; choose with --platform, or another --base"
}

// The forms of repositories and tags, where the parser takes more than registries do.
// https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
var (
	nameForm = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// CheckName reports a malformed image name, with or without a registry host,
// as a usage error.
func CheckName(ref string) error {
	parsed, err := name.ParseReference(ref, name.WithDefaultRegistry("local.invalid"))
	if err == nil && strings.Contains(ref, "@") {
		return usagef("a digest follows from the content: give a tag, as "+ref[:strings.Index(ref, "@")]+":1",
			"naming the image %q: it has a digest", ref)
	}
	if err == nil && nameForm.MatchString(parsed.Context().RepositoryStr()) && tagForm.MatchString(parsed.Identifier()) {
		return nil
	}
	fix := "write HOST/REPOSITORY:TAG, as registry.example.com/shop/web:1.4"
	if lower := strings.ToLower(ref); lower != ref {
		if _, err := name.ParseReference(lower); err == nil {
			fix = "repository names are lower case: write " + lower
		}
	}
	return usagef(fix, "naming the image %q: malformed reference", ref)
}

// StepError is a command of the build step that failed.
type StepError struct {
	Step, Command string
	Code          int
	Reason        string // why it could not be executed; "" if it was
	Tail          string // the last of what it printed
	Fix           string
}

func (e *StepError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("%s: %s: %s", e.Step, e.Command, e.Reason)
	}
	return fmt.Sprintf("%s: %s: exit code %d", e.Step, e.Command, e.Code)
}

// Hint explains known causes.
func (e *StepError) Hint() string { return e.Fix }
