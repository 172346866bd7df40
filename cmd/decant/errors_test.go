package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/decant-build/decant/assemble"
)

// hinted is an error of a library, with or without a way out.
type hinted struct {
	hint string
	err  error
}

func (h hinted) Error() string { return "hinted" }
func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.err }

func TestHintIsTheFirstThatSaysSomething(t *testing.T) {
	helper := hinted{hint: "install it"}
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"none":                   {errors.New("x"), ""},
		"wrapped":                {fmt.Errorf("a: %w", helper), "install it"},
		"outermost":              {hinted{"outer", helper}, "outer"},
		"below an empty one":     {hinted{"", fmt.Errorf("a: %w", helper)}, "install it"},
		"below a usage error":    {&usageError{err: helper}, "install it"},
		"second of several":      {errors.Join(errors.New("x"), hinted{}, helper), "install it"},
		"several with %w":        {fmt.Errorf("%w, %w", errors.New("x"), hinted{"", helper}), "install it"},
		"a base without images":  {&assemble.PlatformError{Base: "b"}, "it has no image at all: choose another"},
		"assemble's usage error": {&assemble.UsageError{Err: helper}, "install it"},
	} {
		if got := hintOf(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// moved is what a push reports that was interrupted between two tags.
type moved []string

func (m moved) Error() string       { return "interrupted" }
func (m moved) Published() []string { return m }

func TestInterruptedSaysWhatWasPublished(t *testing.T) {
	const nothing = "interrupted; nothing was published"
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"no push":     {context.Canceled, nothing},
		"before":      {fmt.Errorf("a: %w", moved(nil)), nothing},
		"in between":  {fmt.Errorf("a: %w", moved{"h/a:1", "h/b:1"}), "interrupted after publishing h/a:1, h/b:1"},
		"one of many": {errors.Join(moved(nil), moved{"h/a:1"}), "interrupted after publishing h/a:1"},
		"lost result": {&lostResultError{[]string{"h/a@sha256:0"}, errors.New("x")}, "interrupted after publishing h/a@sha256:0"},
	} {
		if got := interruptedText(tt.err); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestUnusableDirectoryNamesItsVariable(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", filepath.Join(dir, "tmp"))
	t.Setenv("DECANT_CACHE_DIR", filepath.Join(dir, "cache"))
	t.Setenv("DECANT_STORE_DIR", filepath.Join(dir, "data", "store"))
	user := filepath.Join(dir, "user")
	if err := os.WriteFile(user, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"tmp":               "TMPDIR",
		"tmp/decant-1":      "TMPDIR",
		"tmp/site/x":        "",
		"cache/rootfs":      "DECANT_CACHE_DIR",
		"data":              "DECANT_STORE_DIR",
		"data/store/oci":    "DECANT_STORE_DIR",
		"user":              "",
		"cachet/index.html": "",
	} {
		err := fmt.Errorf("a: %w", &fs.PathError{Op: "mkdir", Path: filepath.Join(dir, path), Err: syscall.EROFS})
		got := placeHint(err)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
