package bed

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// An npmPackage is a package of the npm registry, pinned by its digest.
type npmPackage struct {
	name, version string
	sha512        string // of the tarball, in base64, as the registry publishes it
}

// npmTarball downloads a package with npm, which knows the user's mirror and
// proxy, and returns its tarball.
func (b *Bed) npmTarball(ctx context.Context, p npmPackage) (string, error) {
	dir, err := b.once(ctx, "npm-"+p.name+"-"+p.version, func(dir string) error {
		npm, err := exec.LookPath("npm")
		if err != nil {
			return &MissingError{What: "npm", Fix: "install npm, for example with apt-get install npm"}
		}
		b.log(fmt.Sprintf("downloading %s@%s from npm", p.name, p.version))
		cache := filepath.Join(dir, "cache")
		cmd := exec.CommandContext(ctx, npm, "pack", "--ignore-scripts", "--cache", cache,
			"--pack-destination", dir, p.name+"@"+p.version)
		cmd.Dir = dir
		if err := run(cmd); err != nil {
			return fmt.Errorf("downloading %s@%s: %w", p.name, p.version, err)
		}
		found, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("downloading %s@%s: npm left %d tarballs", p.name, p.version, len(found))
		}
		if err := verifySHA512(found[0], p.sha512); err != nil {
			return err
		}
		if err := os.Rename(found[0], filepath.Join(dir, "package.tgz")); err != nil {
			return err
		}
		return os.RemoveAll(cache)
	})
	return filepath.Join(dir, "package.tgz"), err
}

func verifySHA512(file, want string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("verifying %s: %w", filepath.Base(file), err)
	}
	got := base64.StdEncoding.EncodeToString(h.Sum(nil))
	if strings.TrimPrefix(want, "sha512-") != got {
		return fmt.Errorf("verifying %s: its sha512 is %s, not %s", filepath.Base(file), got, want)
	}
	return nil
}
