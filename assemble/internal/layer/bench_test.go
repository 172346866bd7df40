package layer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"testing"
	"time"
)

// benchSite writes a site of n files with about size bytes each.
func benchSite(b *testing.B, n, size int, content func(seed, n int) string) string {
	b.Helper()
	dir := b.TempDir()
	pool := content(1, 8*size)
	for i := range n {
		at := i * 7919 % (6 * size)
		text := fmt.Sprint(i) + pool[at:at+size*(i%19+10)/19]
		site{fmt.Sprintf("assets/%03d/chunk-%05d.js", i/100, i): text}.write(b, dir)
	}
	return dir
}

// floor is the time of one thread to do to the tar what cannot be left out: the
// sums of contents, tar and blob, and the compression.
func floor(b *testing.B, l *Layer) time.Duration {
	b.Helper()
	rc, err := l.Uncompressed()
	if err != nil {
		b.Fatal(err)
	}
	raw, err := io.ReadAll(rc)
	if err != nil {
		b.Fatal(err)
	}
	enc, err := newEncoder(l.compression)
	if err != nil {
		b.Fatal(err)
	}
	var blob []byte
	start := time.Now()
	for len(raw) > 0 {
		n := min(len(raw), pieceSize)
		if blob, err = enc.append(blob[:0], raw[:n]); err != nil {
			b.Fatal(err)
		}
		sha256.Sum256(raw[:n])
		sha256.Sum256(raw[:n])
		sha256.Sum256(blob)
		raw = raw[n:]
	}
	return time.Since(start)
}

// BenchmarkBuild reports, beside the rate, how much longer a build takes than the
// floor; below 1 is what several processors gain.
func BenchmarkBuild(b *testing.B) {
	for name, content := range map[string]func(seed, n int) string{"text": text, "noise": noise} {
		dir := benchSite(b, 1000, 100_000, content)
		for _, c := range []Compression{Gzip, Zstd} {
			b.Run(name+"/"+string(c), func(b *testing.B) {
				tree := scan(b, dir)
				l, _ := mustBuild(b, tree, Options{Compression: c})
				least := floor(b, l)
				b.SetBytes(l.rawSize)
				b.ReportAllocs()
				for b.Loop() {
					bench(b, tree, Options{Compression: c})
				}
				b.ReportMetric(float64(l.size)/float64(l.rawSize), "size/raw")
				b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/least.Seconds(), "time/floor")
			})
		}
	}
}

// BenchmarkModules is the first build of what an install leaves: 20,000 small
// files, few in a directory, several levels down. It reports how long a file takes.
func BenchmarkModules(b *testing.B) {
	const files = 20_000
	dir := b.TempDir()
	for i := range files {
		name := fmt.Sprintf("node_modules/pkg-%04d/", i/20)
		switch i % 20 {
		case 0, 1, 2:
			name += fmt.Sprintf("file-%02d.js", i%20)
		case 3, 4, 5, 6, 7, 8, 9:
			name += fmt.Sprintf("lib/file-%02d.js", i%20)
		default:
			name += fmt.Sprintf("node_modules/dep/dist/esm/file-%02d.js", i%20)
		}
		site{name: text(i, 100+i*7919%7800)}.write(b, dir)
	}
	tree := scan(b, dir)
	for _, c := range []Compression{Gzip, Zstd} {
		b.Run(string(c), func(b *testing.B) {
			l, _ := mustBuild(b, tree, Options{Compression: c})
			least := floor(b, l)
			b.SetBytes(l.rawSize)
			b.ReportAllocs()
			for b.Loop() {
				bench(b, tree, Options{Compression: c})
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/least.Seconds(), "time/floor")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/files, "us/file")
		})
	}
}

func bench(b *testing.B, tree Tree, o Options) *Layer {
	b.Helper()
	if o.Temp == "" {
		o.Temp = b.TempDir()
	}
	l, _, err := Build(context.Background(), tree, o)
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return l
}

// BenchmarkRebuild is the second build of a site of 20,000 files, in comparison
// with the first.
func BenchmarkRebuild(b *testing.B) {
	dir := benchSite(b, 20_000, 15_000, text)
	tree := scan(b, dir).settled()
	start := time.Now()
	l, r := mustBuild(b, tree, Options{Compression: Gzip})
	cold := time.Since(start)
	run := func(name string, tree Tree) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(l.rawSize)
			b.ReportAllocs()
			for b.Loop() {
				bench(b, tree, Options{Compression: Gzip, Reuse: r, ReuseBlob: l.Path()})
			}
			b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/cold.Seconds(), "time/cold")
		})
	}
	run("unchanged", tree)
	for _, i := range []int{0, 10_000, 19_999} {
		site{fmt.Sprintf("assets/%03d/chunk-%05d.js", i/100, i): text(i, 20_000)}.write(b, dir)
		run(fmt.Sprintf("file %d changed", i), scan(b, dir).settled())
		site{fmt.Sprintf("assets/%03d/chunk-%05d.js", i/100, i): text(1, 100)}.write(b, dir)
	}
	dir = benchSite(b, 20_000, 15_000, text)
	run("all written anew", scan(b, dir).settled())
}
