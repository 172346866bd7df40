package registry

import (
	"fmt"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/registry/registrytest"
)

// BenchmarkPush builds a site of two platforms with 7 base layers each against a
// registry that takes 20 ms for a request, and reports requests and time.
func BenchmarkPush(b *testing.B) {
	for _, what := range []string{"first", "changed", "unchanged"} {
		for _, tokens := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/tokens=%v", what, tokens), func(b *testing.B) {
				r := registrytest.New(b, registrytest.Options{
					Latency: 20 * time.Millisecond, Token: tokens, User: "u", Password: "p"})
				dir := b.TempDir()
				seed, _ := newClient(b, Options{CacheDir: dir, Keychain: keys{"u", "p"}})
				push(b, seed, baseIndex(b, 2000, 7), r.Host+"/nginx:stable")
				build := func(repo string, top v1.Layer) {
					c, _ := newClient(b, Options{CacheDir: dir, Keychain: keys{"u", "p"}})
					base := pull(b, c, r.Host+"/nginx:stable")
					push(b, c, siteIndex(b, base.Index, top), r.Host+"/"+repo+":1")
				}
				top := layerOf(b, 4<<20)
				build("web", top)
				r.Reset()
				n := 0
				for b.Loop() {
					n++
					switch what {
					case "first":
						build(fmt.Sprintf("web%d", n), layerOf(b, 4<<20))
					case "changed":
						build("web", layerOf(b, 4<<20))
					default:
						build("web", top)
					}
				}
				b.ReportMetric(float64(len(r.Requests()))/float64(n), "requests/op")
			})
		}
	}
}

// BenchmarkUpload is the speed of one large layer on loopback.
func BenchmarkUpload(b *testing.B) {
	r := registrytest.New(b, registrytest.Options{})
	top := layerOf(b, 64<<20)
	b.SetBytes(64 << 20)
	n := 0
	for b.Loop() {
		n++
		c, _ := newClient(b, Options{})
		target, err := c.Target(fmt.Sprintf("%s/web%d:1", r.Host, n))
		if err != nil {
			b.Fatal(err)
		}
		if err := target.Upload(b.Context(), top); err != nil {
			b.Fatal(err)
		}
	}
}
