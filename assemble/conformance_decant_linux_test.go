package assemble_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/decant-build/decant/assemble"
)

// nobody is the plain user.
const nobody = 65534

func TestMain(m *testing.M) {
	assemble.MaybeInit()
	flag.Parse()
	os.Exit(m.Run())
}

// TestConformance builds every case twice, the second time with what the first one
// left in the cache: both must give what the case says, and the same digest.
func TestConformance(t *testing.T) {
	bases := conformanceBases(t)
	cache := t.TempDir()
	for _, c := range loadCases(t) {
		if c.noPlain != "" && os.Getenv(plainEnv) != "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := c.unpack(t, t.TempDir())
			cold := buildCase(t, bases, c, dir, cache)
			c.checkBuilt(t, bases, cold)
			if cold.err != nil || *updateFrom != "" || testing.Short() {
				return
			}
			warm := buildCase(t, bases, c, dir, cache)
			if warm.err != nil || warm.digest != cold.digest {
				t.Errorf("the second build gave %s, the first %s (%v)", warm.digest, cold.digest, warm.err)
			}
		})
	}
}

// TestConformanceAsPlainUser is TestConformance, without root or subordinate ids.
func TestConformanceAsPlainUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("TestConformance was a plain user's already")
	}
	if testing.Short() {
		t.Skip("builds all cases once more")
	}
	busybox := needed[string](t)(openBed(t).Busybox(t.Context()))
	dir := t.TempDir()
	open(t, dir)
	for from, to := range map[string]string{os.Args[0]: "test", busybox: "busybox"} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "cases"), os.DirFS(casesDir)); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"), "-test.run=^TestConformance$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp, "TMPDIR=" + tmp,
		plainEnv + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as a plain user: %v\n%s", err, out)
	}
}

// open lets every user reach dir, a directory of the test.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// A caseBuilt is what decant made of a case.
type caseBuilt struct {
	image    *builtImage
	digest   v1.Hash
	err      error
	text     string // the error with its hint, and the output of the steps
	warnings string
}

// buildCase builds a case's context as the command line would.
func buildCase(t *testing.T, bases map[string]v1.Image, c *dockerfileCase,
	dir, cache string) caseBuilt {
	t.Helper()
	out := t.TempDir()
	var log caseLog
	o := assemble.Options{Dir: dir, Dockerfile: filepath.Join(dir, "Dockerfile"),
		CacheDir: cache, TempDir: out, Progress: &log, Platforms: "linux/" + runtime.GOARCH,
		BuildArgs: map[string]string{}, Labels: map[string]string{},
		Outputs: []assemble.Output{{Kind: assemble.Layout, Names: []string{"case:1"},
			Path: filepath.Join(out, "layout")}},
		Pull: func(_ context.Context, ref string) (*assemble.Base, error) {
			name := strings.TrimSuffix(path.Base(ref), ":latest")
			img, ok := bases[name]
			if !ok {
				return nil, fmt.Errorf("pulling %s: there is no such image", ref)
			}
			digest, err := img.Digest()
			return &assemble.Base{Name: ref, Image: img, Digest: digest}, err
		}}
	for i := 0; i+1 < len(c.args); i += 2 {
		if err := setOption(&o, dir, c.args[i], c.args[i+1]); err != nil {
			t.Fatalf("%s: args: %v", c.path, err)
		}
	}
	result, err := assemble.Build(t.Context(), o)
	built := caseBuilt{err: err, warnings: log.warnings.String()}
	if err != nil {
		built.text = err.Error() + "\n" + log.output.String()
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			built.text += h.Hint()
		}
		return built
	}
	built.digest = result.Digest
	if built.image, err = readImageDir(o.Outputs[0].Path); err != nil {
		t.Fatal(err)
	}
	validateLayout(t, o.Outputs[0].Path, result.Images[0].Digest)
	return built
}

// setOption does what a flag of the command line does.
func setOption(o *assemble.Options, dir, name, value string) error {
	key, val, _ := strings.Cut(value, "=")
	switch name {
	case "--build-arg":
		o.BuildArgs[key] = val
	case "--label":
		o.Labels[key] = val
	case "--target":
		o.Target = value
	case "-f":
		o.Dockerfile = filepath.Join(dir, value)
	case "--secret":
		id, src, _ := strings.Cut(strings.TrimPrefix(value, "id="), ",src=")
		data, err := os.ReadFile(filepath.Join(dir, src))
		if err != nil {
			return err
		}
		o.Secrets = append(o.Secrets, assemble.Secret{ID: id, Data: data})
	default:
		return fmt.Errorf("%s is not a flag that cases use", name)
	}
	return nil
}

func validateLayout(t *testing.T, dir string, digest v1.Hash) {
	t.Helper()
	p, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := p.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
}

// checkBuilt compares what was built with the golden sections.
func (c *dockerfileCase) checkBuilt(t *testing.T, bases map[string]v1.Image, b caseBuilt) {
	t.Helper()
	c = c.asDecant()
	got := c.result(t, bases, b.image, b.err)
	if difference := c.compare(got); difference != "" {
		if *updateFrom == "decant" && c.sameOutcome(got) {
			c.set(t, got)
		} else {
			t.Errorf("decant differs (-want +got):\n%s", difference)
		}
	}
	c.contains(t, "want.error", b.text)
	c.contains(t, "want.warning", b.warnings)
	want, ok := c.section("want.history")
	if !ok || b.err != nil {
		return
	}
	is, err := history(b.image.config)
	if err != nil {
		t.Fatal(err)
	}
	if is != want {
		t.Errorf("the history is\n%s\nwant\n%s", is, want)
	}
}

// contains tells which lines of a section do not occur in a text.
func (c *dockerfileCase) contains(t *testing.T, section, text string) {
	t.Helper()
	want, _ := c.section(section)
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); !strings.Contains(text, line) {
			t.Errorf("%s: %q does not occur in:\n%s", section, line, text)
		}
	}
}

// A caseLog keeps what a build tells its user.
type caseLog struct {
	mu               sync.Mutex
	warnings, output bytes.Buffer
}

var _ assemble.Progress = (*caseLog)(nil)

func (l *caseLog) Fact(string, string) {}

func (l *caseLog) Layer(int, int, int64, int64) {}

func (l *caseLog) Warn(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.warnings, text)
}

func (l *caseLog) Step(string, string) (io.Writer, func(error)) { return l, func(error) {} }

// Write takes the output of steps.
func (l *caseLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.output.Write(p)
}
