package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

func TestLookupUser(t *testing.T) {
	s := openStore(t)
	below := layerOf(t,
		file("usr/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n"+
			"broken:x:many:0::/:\n0815:x:5:6::/five:\nnohome:x:7:7:::\n"),
		file("usr/etc/group", "root:x:0:\nwww:x:33:node\n"),
		symlink("etc", "/usr/etc"),
	)
	old := layerOf(t, file("usr/etc/passwd", "node:x:1:1::/old:"))
	r := unpack(t, s, old, below)
	none := unpack(t, s, below, layerOf(t, whiteout("usr/etc/.wh.passwd")))
	tests := []struct {
		rootfs   *Rootfs
		user     string
		uid, gid uint32
		home     string
		missing  string
	}{
		{r, "", 0, 0, "/root", ""},
		{r, "root", 0, 0, "/root", ""},
		{r, "node", 1000, 1001, "/home/node", ""},
		{r, "1000", 1000, 1001, "/home/node", ""},
		{r, "node:www", 1000, 33, "/home/node", ""},
		{r, "node:44", 1000, 44, "/home/node", ""},
		{r, "4711", 4711, 0, "/", ""},
		{r, "4711:33", 4711, 33, "/", ""},
		{r, "0815", 5, 6, "/five", ""},
		{r, "nohome", 7, 7, "/", ""},
		{r, "nobody", 0, 0, "", "nobody"},
		{r, "broken", 0, 0, "", "broken"},
		{r, "4294967295", 0, 0, "", "4294967295"},
		{r, "-1", 0, 0, "", "-1"},
		{r, "node:nogroup", 0, 0, "", "nogroup"},
		{none, "0", 0, 0, "/", ""},
		{none, "node", 0, 0, "", "node"},
	}
	for _, test := range tests {
		uid, gid, home, err := test.rootfs.LookupUser(test.user)
		var missing *UserError
		if errors.As(err, &missing); test.missing != "" {
			if missing == nil || missing.Name != test.missing {
				t.Errorf("%q: %v", test.user, err)
			}
			continue
		}
		if err != nil || uid != test.uid || gid != test.gid || home != test.home {
			t.Errorf("%q: %d, %d, %q, %v", test.user, uid, gid, home, err)
		}
	}
}

func TestViewReadsUppersToo(t *testing.T) {
	s := openStore(t)
	r := unpack(t, s, layerOf(t, file("etc/passwd", "a:x:1:1::/:"), file("etc/old", "1"),
		file("d/f", "1")))
	upper := t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(upper, "etc"), 0o755),
		os.WriteFile(filepath.Join(upper, "etc/passwd"), []byte("b:x:2:2::/:"), 0o644),
		unix.Mknod(filepath.Join(upper, "etc/old"), unix.S_IFCHR, 0),
		os.MkdirAll(filepath.Join(upper, "d"), 0o755),
		unix.Setxattr(filepath.Join(upper, "d"), opaqueXattr, []byte("y"), 0),
	); err != nil {
		t.Fatal(err)
	}
	v := r.View(upper)
	if uid, _, _, err := v.LookupUser("b"); err != nil || uid != 2 {
		t.Errorf("b is %d, %v", uid, err)
	}
	for _, name := range []string{"etc/old", "d/f", "etc", "etc/passwd/x"} {
		if _, err := v.ReadFile(name, 10); err == nil {
			t.Errorf("%s could be read", name)
		}
	}
	if _, err := r.ReadFile("etc/passwd", 3); err == nil {
		t.Error("a file was read that is larger than the limit")
	}
}

func FuzzLookupUser(f *testing.F) {
	f.Add("node:x:1000:1000::/home/node:\n", "node:x:1:", "node:node")
	f.Add(":::\n::::::::\n", "", ":")
	f.Fuzz(func(t *testing.T, passwd, group, user string) {
		root := t.TempDir()
		if err := errors.Join(
			os.Mkdir(filepath.Join(root, "etc"), 0o755),
			os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(passwd), 0o644),
			os.WriteFile(filepath.Join(root, "etc/group"), []byte(group), 0o644),
		); err != nil {
			t.Fatal(err)
		}
		uid, gid, home, err := newView([]string{root}).LookupUser(user)
		if err == nil && (home == "" || uid == 1<<32-1 || gid == 1<<32-1) {
			t.Errorf("%q is %d, %d, %q", user, uid, gid, home)
		}
	})
}

var _ v1.Layer = (*whole)(nil)
