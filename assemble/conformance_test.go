package assemble_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/testdata/bed"
)

var updateFrom = flag.String("update-from", "", "write the golden sections of "+
	"testdata/dockerfile that a builder's results differ from: buildah or decant")

// TestBuildahConforms builds every case with buildah, so that the golden results
// are not just what decant happens to do. Where buildah does something else, the
// case says why BuildKit's way is right.
func TestBuildahConforms(t *testing.T) {
	if _, err := exec.LookPath("buildah"); err != nil || os.Getuid() != 0 {
		t.Skip("buildah is not installed, or is not root's")
	}
	if testing.Short() {
		t.Skip("takes a minute or two")
	}
	t.Parallel()
	bases := conformanceBases(t)
	w := newBuildah(t, openBed(t), bases)
	for _, c := range loadCases(t) {
		t.Run(c.name, func(t *testing.T) {
			dir := c.unpack(t, t.TempDir())
			img, err := w.build(t.Context(), c, dir)
			if err != nil && !isBuildError(err) && c.differs == "" {
				t.Fatal(err)
			}
			got := c.result(t, bases, img, err)
			difference := c.compare(got)
			switch {
			case difference == "":
				if c.differs != "" {
					t.Logf("this buildah does not differ: %s", c.differs)
				}
			case c.differs != "":
				t.Logf("differs, as expected: %s\n%s", c.differs, difference)
			case *updateFrom == "buildah" && c.sameOutcome(got):
				c.set(t, got)
			default:
				t.Errorf("buildah differs (-want +got):\n%s", difference)
			}
		})
	}
}

// result is what a builder has made, as golden sections.
func (c *dockerfileCase) result(t *testing.T, bases map[string]v1.Image, img *builtImage,
	err error) map[string]string {
	t.Helper()
	if err != nil {
		return map[string]string{"want.error": err.Error()}
	}
	config, err := normalConfig(img.config)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{
		"want.config": config,
		"want.tree":   treeDiff(baseTree(t, bases, c.base), img.lines()),
	}
	for _, text := range c.absent {
		if img.mentions(text) {
			got["leaks"] += text + "\n"
		}
	}
	return got
}

// sameOutcome tells whether a build that shall fail failed, or the other way round.
func (c *dockerfileCase) sameOutcome(got map[string]string) bool {
	_, fails := c.section("want.error")
	_, failed := got["want.error"]
	return fails == failed
}

// compare says how a result differs from the golden one; of an error it looks
// only whether there is one.
func (c *dockerfileCase) compare(got map[string]string) string {
	wantError, fails := c.section("want.error")
	if !c.sameOutcome(got) {
		return cmp.Diff(wantError, got["want.error"])
	}
	if fails {
		return ""
	}
	var difference strings.Builder
	if got["leaks"] != "" {
		fmt.Fprintf(&difference, "in the image, but should not be: %s", got["leaks"])
	}
	for _, name := range []string{"want.config", "want.tree"} {
		want, _ := c.section(name)
		want = strings.ReplaceAll(want, "$ARCH", runtime.GOARCH)
		difference.WriteString(cmp.Diff(strings.Split(want, "\n"), strings.Split(got[name], "\n")))
	}
	return difference.String()
}

// plainEnv, if set, says that these are the tests of a plain user, and is the
// directory that holds what such a user cannot make or reach.
const plainEnv = "DECANT_TEST_CONFORMANCE"

// missing skips a test for want of a real part, or fails it where none may be
// missing.
func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("DECANT_TEST_REQUIRE_ALL") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// openBed gives the test bed, on the systems that can have one.
func openBed(t testing.TB) *bed.Bed {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the bed is made of Debian packages")
	}
	b, err := bed.Open(t.Context(), "", func(s string) { t.Log(s) })
	if err != nil {
		missing(t, err.Error())
	}
	return b
}

// needed unwraps what the bed made, or skips.
func needed[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		var m *bed.MissingError
		if errors.As(err, &m) {
			missing(t, m.Error()+": "+m.Hint())
		}
		if err != nil {
			missing(t, err.Error())
		}
		return v
	}
}
