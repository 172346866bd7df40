//go:build amd64 || arm64

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// onRungs runs a test on overlay, on the copy, and in the chroot.
func onRungs(t *testing.T, f func(t *testing.T, on func(*Sandbox), change func(*Config))) {
	for name, r := range map[string]rung{"overlay": overlayRung, "copy": copyRung, "chroot": chrootRung} {
		t.Run(name, func(t *testing.T) {
			f(t, func(s *Sandbox) { s.rung = r }, func(c *Config) {
				if r == chrootRung {
					c.Isolation = Chroot
				}
			})
		})
	}
}

// listing is what a layer directory says, by name.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if errors.Is(err, fs.ErrPermission) {
			return fs.SkipDir
		}
		if err != nil || rel == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case info.Mode()&os.ModeCharDevice != 0:
			text = "whiteout"
		case info.Mode()&os.ModeSymlink != 0:
			text, _ = os.Readlink(p)
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err == nil {
				text += " " + string(b)
			}
		}
		buf := make([]byte, 10)
		if n, err := unix.Lgetxattr(p, opaqueAttr, buf); err == nil && string(buf[:n]) == "y" {
			text += " opaque"
		}
		got[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// alter makes every kind of change that a layer can hold.
func alter(args []string) int {
	switch args[0] {
	case "1":
		sayErr("1", firstOf(os.RemoveAll("/data/old"), os.Mkdir("/data/old", 0o755),
			os.WriteFile("/data/old/z", []byte("z"), 0o644), os.WriteFile("/data/b", []byte("new"), 0o644),
			os.MkdirAll("/made/deep", 0o755), os.WriteFile("/made/deep/f", []byte("f"), 0o444),
			os.Link("/made/deep/f", "/made/same"), os.Symlink("deep/f", "/made/link"),
			os.Mkdir("/made/shut", 0o555), unix.Chmod("/tmp", 0o1777),
			os.WriteFile("/etc/hosts", []byte("mine"), 0o644),
			os.WriteFile("/etc/resolv.conf", []byte("mine"), 0o644)))
	case "2":
		sayErr("2", firstOf(os.Remove("/data/b"), os.Remove("/made/link"),
			os.Rename("/made/deep/f", "/made/g"), os.Remove("/data/notexec"),
			os.Mkdir("/data/notexec", 0o700), os.Chmod("/made/shut", 0o755)))
	case "3":
		sayErr("3", firstOf(os.RemoveAll("/made/deep"), os.WriteFile("/made/deep", nil, 0o600),
			os.WriteFile("/data/b", []byte("again"), 0o600)))
	case "see":
		for _, n := range []string{"/data", "/data/old", "/made", "/data/notexec"} {
			say(n, strings.Join(names(n), " "))
		}
		b, _ := os.ReadFile("/data/b")
		say("b", string(b))
	}
	return 0
}

var alterations = []map[string]string{
	{
		"data": "drwxr-xr-x", "data/b": "-rw-r--r-- new", "data/old": "drwxr-xr-x opaque",
		"data/old/z": "-rw-r--r-- z", "made": "drwxr-xr-x", "made/deep": "drwxr-xr-x",
		"made/deep/f": "-r--r--r-- f", "made/same": "-r--r--r-- f", "made/link": "deep/f",
		"made/shut": "dr-xr-xr-x", "tmp": "dtrwxrwxrwx",
	},
	{
		"data": "drwxr-xr-x", "data/b": "whiteout", "data/notexec": "drwx------ opaque", "made": "drwxr-xr-x",
		"made/deep": "drwxr-xr-x", "made/deep/f": "whiteout", "made/g": "-r--r--r-- f",
		"made/link": "whiteout", "made/shut": "drwxr-xr-x",
	},
	{"data": "drwxr-xr-x", "data/b": "-rw------- again", "made": "drwxr-xr-x", "made/deep": "-rw------- "},
}

// TestChangesBecomeLayers runs a chain of steps, each on the changes of those before it.
func TestChangesBecomeLayers(t *testing.T) {
	onRungs(t, func(t *testing.T, on func(*Sandbox), change func(*Config)) {
		var steps []string
		store := t.TempDir()
		next := func(do string) map[string]string {
			s := open(t, change, func(c *Config) {
				c.Lower = append(c.Lower, steps...)
				c.Flatten = func(_ context.Context, dst string) error { return flattenAll(c.Lower, dst) }
			})
			on(s)
			step := Step{Secrets: []Secret{{Target: "/run/secrets/token", Data: []byte("hush")}},
				Tmpfs: []TmpfsMount{{Target: "/var/scratch"}}}
			said := mustRun(t, s, step, "alter", do)
			dir, err := s.TakeChanges()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := s.Changes(); ok {
				t.Error("what is taken is still there")
			}
			if err := s.Run(t.Context(), step); err == nil {
				t.Error("a step runs on what is taken")
			}
			to := filepath.Join(store, fmt.Sprint(len(steps)))
			if err := os.Rename(dir, to); err != nil {
				t.Fatal(err)
			}
			steps = append(steps, to)
			return said
		}
		for i, want := range alterations {
			n := fmt.Sprint(i + 1)
			expect(t, next(n), map[string]string{n: "ok"})
			if d := cmp.Diff(want, listing(t, steps[i])); d != "" {
				t.Errorf("step %s: wanted -, got +\n%s", n, d)
			}
		}
		expect(t, next("see"), map[string]string{
			"/data": "b notexec old up", "/data/old": "z", "/made": "deep g same shut",
			"/data/notexec": "", "b": "again"})
		if got := listing(t, steps[3]); len(got) > 0 {
			t.Errorf("a step that only looks changes %v", got)
		}
	})
}

// flattenAll merges layer directories, as the rootfs package does.
func flattenAll(lower []string, dst string) error {
	if err := os.Mkdir(dst, 0o755); err != nil {
		return err
	}
	for _, l := range lower {
		if err := mergeInto(l, dst); err != nil {
			return err
		}
	}
	return nil
}

func mergeInto(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		info, err := e.Info()
		if err != nil {
			return err
		}
		opaque, _ := unix.Lgetxattr(src, opaqueAttr, make([]byte, 10))
		old, _ := os.Lstat(dst)
		if old != nil && !(info.IsDir() && old.IsDir() && opaque <= 0) {
			if err := removeTree(dst); err != nil {
				return err
			}
			old = nil
		}
		switch {
		case info.Mode()&os.ModeCharDevice != 0:
		case info.Mode()&os.ModeSymlink != 0:
			text, _ := os.Readlink(src)
			err = os.Symlink(text, dst)
		case info.IsDir():
			if old == nil {
				err = os.Mkdir(dst, 0o700)
			}
			err = errors.Join(err, mergeInto(src, dst), os.Chmod(dst, info.Mode()))
		default:
			var b []byte
			b, err = os.ReadFile(src)
			err = errors.Join(err, os.WriteFile(dst, b, 0o600), os.Chmod(dst, info.Mode()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestTreesShowAMergedView(t *testing.T) {
	onRungs(t, func(t *testing.T, on func(*Sandbox), change func(*Config)) {
		s := open(t, change, func(c *Config) {
			c.FlattenTree = func(_ context.Context, lower []string, dst string) error {
				return flattenAll(lower, dst)
			}
		})
		on(s)
		both := []string{filepath.Join(layers, "0"), filepath.Join(layers, "1")}
		step := Step{Trees: []TreeMount{
			{Lower: both, Target: "/all", ReadOnly: true},
			{Lower: both, Source: "/data/up/data/old", Target: "/some/where"},
			{Lower: both[:1], Source: "data/b", Target: "/b", ReadOnly: true},
			{Target: "/none", ReadOnly: true},
		}}
		if s.rung == chrootRung {
			var refused *RefusedError
			if _, err := run(t, s, step, "tree"); !errors.As(err, &refused) {
				t.Errorf("without mounts: %v", err)
			}
			return
		}
		want := map[string]string{
			"all": "data etc payload tmp var", "old": "new", "some": "new", "b": "b", "none": "",
			"write all": "EROFS", "write some": "ok", "write b": "EROFS", "remove": "ok",
		}
		for range 2 { // what the first wrote is gone
			said := mustRun(t, s, step, "tree")
			root := strings.Fields(strings.ReplaceAll(said["all"], " lib64", ""))
			said["all"] = strings.ReplaceAll(strings.Join(root, " "), " lib ", " ") // the race detector's
			expect(t, said, want)
		}
		_, err := run(t, s, Step{Trees: []TreeMount{{Lower: both, Source: "/data/a", Target: "/x"}}}, "true")
		var refused *RefusedError
		if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &refused) {
			t.Errorf("no source: %v", err)
		}
		dir, err := s.TakeChanges()
		if err != nil {
			t.Fatal(err)
		}
		if got := listing(t, dir); len(got) > 0 {
			t.Errorf("mounts leave %v", got)
		}
	})
}

func seeTrees([]string) int {
	say("all", strings.Join(names("/all"), " "))
	say("old", strings.Join(names("/all/data/old"), " "))
	say("some", strings.Join(names("/some/where"), " "))
	say("none", strings.Join(names("/none"), " "))
	b, _ := os.ReadFile("/b")
	say("b", string(b))
	sayErr("write all", os.WriteFile("/all/x", nil, 0o600))
	sayErr("write b", write("/b"))
	sayErr("write some", os.WriteFile("/some/where/x", nil, 0o600))
	sayErr("remove", os.Remove("/some/where/new"))
	return 0
}

func TestTreeNeedsACopyWithoutOverlay(t *testing.T) {
	s := open(t)
	s.rung = copyRung
	step := Step{Trees: []TreeMount{{Lower: s.cfg.Lower, Target: "/x"}}}
	var refused *RefusedError
	if _, err := run(t, s, step, "true"); !errors.As(err, &refused) || refused.Stage != StageMount {
		t.Error(err)
	}
}

func TestMountPointsLeaveNothing(t *testing.T) {
	s := open(t)
	step := Step{
		Dir: "/data", Binds: []Bind{{t.TempDir(), "/data/old/cache/npm", false}},
		Secrets: []Secret{{Target: "/etc/deep/token", Data: []byte("x")}, {Target: "/tmp/t", Data: []byte("x")}},
		Tmpfs:   []TmpfsMount{{Target: "/var/lib/x", Size: 1 << 20}},
	}
	mustRun(t, s, step, "true")
	dir, err := s.TakeChanges()
	if err != nil {
		t.Fatal(err)
	}
	if got := listing(t, dir); len(got) > 0 {
		t.Errorf("it left %v", got)
	}
}

func TestTmpfsHasASize(t *testing.T) {
	s := open(t)
	step := Step{Tmpfs: []TmpfsMount{{Target: "/data", Size: 1 << 20}}}
	expect(t, mustRun(t, s, step, "write"), map[string]string{"write": "ENOSPC"})
	step.Tmpfs[0].Size = 0
	expect(t, mustRun(t, s, step, "write"), map[string]string{"write": "ok"})
}

func TestUserReadsItsSecretsAndWritesItsCache(t *testing.T) {
	s := open(t)
	dir := t.TempDir()
	step := Step{UID: 1000, GID: 1000, Secrets: []Secret{{Target: "/run/secrets/token", Data: []byte("hush")}},
		Binds: []Bind{{dir, "/data", false}}}
	if out, err := run(t, s, step, "cat", "/run/secrets/token"); err != nil || out != "hush" {
		t.Errorf("%q, %v", out, err)
	}
	expect(t, mustRun(t, s, step, "write"), map[string]string{"write": "ok"})
}

// TestSocketOfTheHost is what RUN --mount=type=ssh needs.
func TestSocketOfTheHost(t *testing.T) {
	name := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := open(t, recording)
	for _, uid := range []int{0, 1000} {
		step := Step{UID: uid, Binds: []Bind{{name, "/run/agent/0", false}}}
		expect(t, mustRun(t, s, step, "dial", "unix", "/run/agent/0"), map[string]string{"dial": "ok"})
	}
}

func TestTakeChangesNeedsAStep(t *testing.T) {
	s := open(t)
	if _, err := s.TakeChanges(); err == nil {
		t.Error("there are changes before a step")
	}
}
