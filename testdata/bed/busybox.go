package bed

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// busyboxVersion is the version of how busybox is taken out of its package.
const busyboxVersion = "1"

// Busybox returns the path of Debian's busybox for this machine: one program,
// linked statically, that is a shell and the usual tools, for bases of a few files.
func (b *Bed) Busybox(ctx context.Context) (file string, err error) {
	dir, err := b.once(ctx, "busybox-v"+busyboxVersion, func(dir string) error {
		work, err := os.MkdirTemp(dir, "work-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		debs, err := b.debs(ctx, runtime.GOARCH, work, false, "busybox-static")
		if err != nil {
			return err
		}
		for _, deb := range debs {
			cmd := exec.CommandContext(ctx, "dpkg-deb", "-x", deb, work)
			if err := cmd.Run(); err != nil {
				return err
			}
		}
		return copyBusybox(filepath.Join(work, "bin", "busybox"), filepath.Join(dir, "busybox"))
	})
	return filepath.Join(dir, "busybox"), err
}

func copyBusybox(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
