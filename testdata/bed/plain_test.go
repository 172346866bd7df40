//go:build linux

package bed

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// plainUser is nobody's id on Debian: no user needs to be made for it.
const plainUser = 65534

// TestAllWorksForAPlainUser runs this test binary again as a plain user with a home
// and a cache of its own. The cache stays for the next run.
func TestAllWorksForAPlainUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		return // all other tests have shown it
	}
	home := plainHome(t)
	// The test binary lies where only root can go.
	work, err := os.MkdirTemp("", "decant-bed-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	binary, tmp := filepath.Join(work, "bed.test"), filepath.Join(work, "tmp")
	err = cmp.Or(os.Chmod(work, 0o755), copyProgram(t, os.Args[0], binary), os.Mkdir(tmp, 0o700),
		os.Chown(tmp, plainUser, plainUser))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.timeout=5m", "-test.run="+
		"^Test(NginxServesItsPage|UnpackedToolsWorkTogether|RegistryIsGoneAfterStop|NodeIsAValidImageThatRuns)$")
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "TMPDIR=" + tmp, "PATH=/usr/local/bin:/usr/bin:/bin",
		"DECANT_BED_TEST_DIR=" + filepath.Join(home, "cache"), "USER=nobody", "XDG_RUNTIME_DIR=" + tmp}
	for _, name := range []string{"DECANT_TEST_REQUIRE_ALL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
		"https_proxy", "no_proxy", "NODE_EXTRA_CA_CERTS", "npm_config_registry"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: plainUser, Gid: plainUser}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as a plain user: %v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// plainHome returns a directory for the plain user that stays from run to run. Its
// name can be guessed, so it counts only when that user has it.
func plainHome(t *testing.T) string {
	t.Helper()
	home := filepath.Join(os.TempDir(), "decant-bed-plain")
	err := os.Mkdir(home, 0o755)
	if err == nil {
		err = os.Chown(home, plainUser, plainUser)
	} else if os.IsExist(err) {
		err = nil
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(home)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); !info.IsDir() || stat.Uid != plainUser {
		t.Fatalf("%s belongs to %d; remove it", home, stat.Uid)
	}
	return home
}

// copyProgram copies with cp, for a file that this process had open for writing
// could not be run while a child of a parallel test still holds it
// (golang.org/issue/22315).
func copyProgram(t *testing.T, from, to string) error {
	return run(exec.CommandContext(t.Context(), "cp", from, to))
}

// TestSecondRunMakesNothing holds the promise that the demo lives by.
func TestSecondRunMakesNothing(t *testing.T) {
	b := open(t)
	dir, err := b.Nginx(t.Context())
	need(t, err)
	before, err := os.Stat(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Nginx(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(filepath.Join(again, "index.json"))
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("it was made again: %v", err)
	}
}
