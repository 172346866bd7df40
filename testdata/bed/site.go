package bed

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"
)

// siteVersion is the version of the recipe, as nginxVersion is.
const siteVersion = "1"

// sitePackages are what the texts of the sites are made of.
func sitePackages() []npmPackage {
	return []npmPackage{
		{"vue", "3.5.45", "3cvsib8m9c0vB24+MDKsgcW4+Da4xaBl9Z/5Tbm2pmSIsRPxcil4cdXjXlVsmJ2g64XJo5h+IRd7rsdGT9pZaw=="},
		{"swagger-ui-dist", "5.35.0",
			"U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ=="},
		{"pdfjs-dist", "6.5.438",
			"vg8Pw1x+AFKy4AMDvhuWl5cOYV8d698UoEANoFFhc79hqXDnZQqnOXoxw3HG907WHOg1JYOvLhP756boddFxpA=="},
		{"monaco-editor", "0.57.0",
			"5BkI9KGoqrNvBGUe15/QlZq3OooZ8WLg1AxTpaqHRCP3HNpzPPZKE2EDz8M7c+VRmCeUw1Brp4cx/PWm3kI/5A=="},
	}
}

// A siteSize says how much a sample site holds.
type siteSize struct {
	files int
	bytes int64
}

// Site makes a sample site and returns its directory, which the caller must not
// change: copy it first. The sites look like what front-end builds leave: an
// index.html, scripts, style sheets, source maps and pages of real text, images and
// fonts that do not compress, and hashed names below assets. They are the same on
// every machine, and no two files have the same content.
//
//	small   10 files, 0.3 MB
//	medium  1,200 files, 60 MB
//	large   20,000 files, 1 GiB
func (b *Bed) Site(ctx context.Context, name string) (dir string, err error) {
	sizes := map[string]siteSize{
		"small":  {10, 300_000},
		"medium": {1200, 60_000_000},
		"large":  {20_000, 1 << 30},
	}
	size, ok := sizes[name]
	if !ok {
		return "", fmt.Errorf("making the site %s: the bed knows small, medium and large", name)
	}
	return b.once(ctx, "site-"+name+"-v"+siteVersion, func(dir string) error {
		texts, err := b.siteTexts(ctx)
		if err != nil {
			return err
		}
		b.log(fmt.Sprintf("writing the site %s: %d files, %.1f MB", name, size.files, float64(size.bytes)/1e6))
		return writeSite(ctx, dir, size, texts)
	})
}

// siteTexts returns the texts of the packages by extension: js, css, map, html.
func (b *Bed) siteTexts(ctx context.Context) (map[string][]byte, error) {
	const enough = 24 << 20 // bytes of one kind
	texts := map[string][]byte{"html": []byte(page)}
	for _, p := range sitePackages() {
		tarball, err := b.npmTarball(ctx, p)
		if err != nil {
			return nil, err
		}
		err = readTarGz(tarball, func(r *tar.Reader) error {
			for {
				h, err := r.Next()
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				kind := strings.TrimPrefix(path.Ext(h.Name), ".")
				if kind == "mjs" {
					kind = "js"
				}
				wanted := kind == "js" || kind == "css" || kind == "map"
				if !wanted || h.Typeflag != tar.TypeReg || len(texts[kind]) > enough {
					continue
				}
				text, err := io.ReadAll(io.LimitReader(r, enough))
				if err != nil {
					return err
				}
				texts[kind] = append(texts[kind], text...)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// page is what the pages of a site repeat.
const page = `<article class="card">
<h2><a href="/guide/getting-started">Getting started</a></h2>
<p>A paragraph of a page that a site generator could have written, with <em>some</em>
<code>markup</code> in it, so that it compresses like one.</p>
<ul><li>first</li><li>second</li><li>third</li></ul>
</article>
`

// A kind is a sort of file: of n files in a hundred, each of weight times the
// average size.
type kind struct {
	ext    string
	n      int
	weight float64
	random bool
}

// kinds returns the sorts of files. The shares follow dist directories of large
// applications: half of the bytes are scripts and their maps, a third is images and
// fonts.
func kinds() [6]kind {
	return [...]kind{
		{ext: "js", n: 40, weight: 0.9},
		{ext: "css", n: 10, weight: 0.3},
		{ext: "map", n: 10, weight: 2.0},
		{ext: "html", n: 15, weight: 0.2},
		{ext: "png", n: 15, weight: 1.6, random: true},
		{ext: "woff2", n: 10, weight: 1.4, random: true},
	}
}

// writeSite writes the files of a site, on all cores.
func writeSite(ctx context.Context, dir string, size siteSize, texts map[string][]byte) error {
	var total float64
	for i := range size.files {
		total += weight(i)
	}
	unit := float64(size.bytes) / total
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range size.files {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			return writeSiteFile(dir, i, max(256, int(weight(i)*unit)), texts)
		})
	}
	return group.Wait()
}

// kindOf is the sort of file number i. The first is the page index.html; then the
// sorts alternate, so that a small site has all of them.
func kindOf(i int) kind {
	all := kinds()
	if i == 0 {
		return all[3]
	}
	at := i * 37 % 100 // visits all of 0 … 99, and neighbours are far apart
	for _, k := range all {
		if at < k.n {
			return k
		}
		at -= k.n
	}
	return all[0]
}

// weight is the relative size of file number i: a few are large, many are small.
func weight(i int) float64 {
	return kindOf(i).weight * [...]float64{0.2, 0.3, 0.5, 0.6, 0.8, 1.0, 1.6, 3.0}[i%8]
}

// writeSiteFile writes file number i. A text starts at a place of its own in the
// real text, and in each of its lines a word of its own stands.
func writeSiteFile(dir string, i, size int, texts map[string][]byte) error {
	k := kindOf(i)
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(i))
	random := rand.NewChaCha8(seed)
	content := make([]byte, 0, size+256)
	switch {
	case k.random:
		content = content[:size]
		if _, err := random.Read(content); err != nil {
			return err
		}
	case k.ext == "html":
		content = fmt.Appendf(content, "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"+
			"<title>Page %d</title></head>\n<body>\n", i)
		content = fillText(content, size, texts[k.ext], random)
	default:
		content = fmt.Appendf(content, "/* file %d */\n", i)
		content = fillText(content, size, texts[k.ext], random)
	}
	name := filepath.Join(dir, siteName(i, k, content))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o644)
}

// fillText appends to content up to size. Pieces of a kilobyte or so of the text
// follow one another from a random start, each with a random word.
func fillText(content []byte, size int, text []byte, random *rand.ChaCha8) []byte {
	at := int(random.Uint64() % uint64(len(text)))
	for len(content) < size {
		n := min(512+int(random.Uint64()%1024), size-len(content), len(text)-at)
		content = append(content, text[at:at+n]...)
		if at += n; at == len(text) {
			at = 0
		}
		content = fmt.Appendf(content, "/*%08x*/", uint32(random.Uint64()))
	}
	return content[:size]
}

// siteName is index.html for the first file, a path without a hash for other
// pages, and a hashed name below assets for all else.
func siteName(i int, k kind, content []byte) string {
	switch {
	case i == 0:
		return "index.html"
	case k.ext == "html":
		return fmt.Sprintf("guide/%02d/page-%d.html", i%50, i)
	case k.ext == "map":
		return fmt.Sprintf("assets/%02d/chunk-%d.js.map", i%50, i)
	}
	sum := sha256.Sum256(content)
	return fmt.Sprintf("assets/%02d/chunk-%d-%x.%s", i%50, i, sum[:4], k.ext)
}

// SiteSize returns how many files a directory holds, and their bytes.
func SiteSize(dir string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files, bytes = files+1, bytes+info.Size()
		return nil
	})
	return files, bytes, err
}
