package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/decant-build/decant/testdata/bed"
)

// TestDockerfilesAreTimed takes the smallest Dockerfile through the benchmark once,
// with decant alone. What the times are is no test's business.
func TestDockerfilesAreTimed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the bed is made of Debian packages")
	}
	t.Chdir(filepath.Join("..", "..")) // where the benchmark is run
	b, err := bed.Open(t.Context(), "", func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	decant, err := buildDecant(t.Context(), tmp)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	tools := []builder{decantBuilder(decant)}
	err = benchDockerfiles(t.Context(), b, tmp, dockerfiles[:1], tools, 1, &out)
	var missing *bed.MissingError
	if errors.As(err, &missing) && os.Getenv("DECANT_TEST_REQUIRE_ALL") != "1" {
		t.Skip(missing, missing.Hint())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range dockerfileCases {
		if !strings.Contains(out.String(), c) {
			t.Errorf("the table has no row %q:\n%s", c, &out)
		}
	}
	left, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if strings.HasPrefix(e.Name(), "run-") {
			t.Errorf("%s is left behind", e.Name())
		}
	}
}
