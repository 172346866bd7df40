// Command demo shows decant's main job on a machine that has Go and reaches the
// Go module proxy, Debian's packages and npm, but no container registry:
//
//	go run ./testdata/demo
//
// It makes an nginx base out of Debian packages, starts a registry on loopback,
// builds the sample site onto the base and pushes it, pulls it back, serves it
// with the image's own nginx and prints the URL and what it fetched from it. Then
// it builds again, unchanged and with a page of the same length changed; and it
// builds a node project in a container of its own, and the same by a multi-stage
// Dockerfile. It needs no privileges and leaves nothing running; the bases stay in
// the user's cache, so that the next run takes seconds. With -keep it serves the
// last until ^C.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/decant-build/decant/testdata/bed"
)

// What the demo publishes: a finished site, a project that has to be built, and a
// Dockerfile that builds it.
const (
	site       = "testdata/apps/hello-dist"
	project    = "testdata/apps/vue-ts"
	dockerfile = "testdata/demo/Dockerfile"
)

func main() {
	keep := flag.Bool("keep", false, "go on serving until ^C")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo: error:", err)
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			fmt.Fprintln(os.Stderr, "demo: hint:", h.Hint())
		}
		os.Exit(1)
	}
}

// demo is what the steps share.
type demo struct {
	bed    *bed.Bed
	host   string // of the registry
	tmp    string
	decant string // the binary
	site   string // a copy that may be changed
}

func run(ctx context.Context, keep bool) (err error) {
	if _, err := os.Stat(site); err != nil {
		return fmt.Errorf("run it in the repository's top directory: %w", err)
	}
	d := &demo{}
	if d.bed, err = bed.Open(ctx, "", say); err != nil {
		return err
	}
	if d.tmp, err = os.MkdirTemp("", "decant-demo-"); err != nil {
		return err
	}
	defer os.RemoveAll(d.tmp)
	registry, err := d.bed.Registry(ctx)
	if err != nil {
		return err
	}
	defer registry.Stop()
	d.host = registry.Host()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	image, err := d.build(ctx)
	if err != nil {
		return err
	}
	before, err := d.show(ctx, image, false)
	if err != nil {
		return err
	}
	if err := d.again(ctx, image, before); err != nil {
		return err
	}
	if err := d.project(ctx); err != nil {
		return err
	}
	return d.dockerfile(ctx, keep)
}

// prepare makes the binary, the base and a copy of the site.
func (d *demo) prepare(ctx context.Context) error {
	say("building decant")
	d.decant = filepath.Join(d.tmp, "decant")
	build := exec.CommandContext(ctx, "go", "build", "-o", d.decant, "./cmd/decant")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building decant: %w: %s", err, out)
	}
	layout, err := d.bed.Nginx(ctx)
	if err != nil {
		return err
	}
	if _, err := d.run(ctx, "push", "oci:"+layout, d.host+"/nginx:stable"); err != nil {
		return err
	}
	d.site = filepath.Join(d.tmp, "site")
	return os.CopyFS(d.site, os.DirFS(site))
}

// build publishes the site and returns its immutable reference.
func (d *demo) build(ctx context.Context) (string, error) {
	return d.run(ctx, "build", d.site, "--base", d.host+"/nginx:stable", "-t", d.host+"/shop/web:1")
}

// run shows a decant command, runs it and returns its last line.
func (d *demo) run(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("\n$ decant %s\n", strings.Join(args, " "))
	cmd := d.command(ctx, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("decant %s: %w", args[0], err)
	}
	os.Stdout.Write(out)
	return strings.TrimSpace(string(out)), nil
}

func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.decant, args...)
	cmd.Env = append(os.Environ(), "DECANT_CACHE_DIR="+filepath.Join(d.tmp, "cache"))
	return cmd
}

// page is an answer of the served site.
type page struct {
	etag string
	body string
}

// show pulls the image back, serves it with its own nginx and fetches its pages.
func (d *demo) show(ctx context.Context, image string, keep bool) (p page, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fmt.Printf("\n$ decant run %s --port 0\n", image)
	cmd := d.command(ctx, "run", image, "--port", "0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	log, err := cmd.StderrPipe()
	if err != nil {
		return page{}, err
	}
	if err := cmd.Start(); err != nil {
		return page{}, err
	}
	defer func() {
		cancel()
		_, _ = io.Copy(io.Discard, log)
		if waitErr := cmd.Wait(); err == nil && !errors.Is(waitErr, context.Canceled) {
			err = waitErr
		}
	}()
	lines := bufio.NewReader(log)
	url, err := servedAt(lines)
	if err != nil {
		return page{}, err
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // the server's log; ends with it
	if err := waitFor(ctx, url); err != nil {
		return page{}, err
	}
	fmt.Printf("the image's own nginx serves it on %s\n", url)
	p, err = d.fetchAll(ctx, strings.TrimSuffix(url, "/"))
	if err == nil && keep {
		fmt.Println("serving until ^C")
		<-ctx.Done()
	}
	return p, err
}

// servedAt reads the URL that decant run prints.
func servedAt(log *bufio.Reader) (string, error) {
	var all strings.Builder
	for {
		line, err := log.ReadString('\n')
		all.WriteString(line)
		if m := regexp.MustCompile(`on (http://\S+) until`).FindStringSubmatch(line); m != nil {
			return m[1], nil
		}
		if err != nil {
			return "", fmt.Errorf("decant run: %s", all.String())
		}
	}
}

// waitFor returns when the server answers.
func waitFor(ctx context.Context, url string) error {
	for range 200 {
		if _, _, err := fetch(ctx, url); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("nobody answers on %s", url)
}

// fetchAll gets every file of the site and compares it, and returns the first
// page. Without a site to compare with it gets that page only.
func (d *demo) fetchAll(ctx context.Context, url string) (first page, err error) {
	if d.site == "" {
		p, status, err := fetch(ctx, url+"/")
		fmt.Printf("  GET / %s, %d bytes, ETag %s\n", status, len(p.body), p.etag)
		return p, err
	}
	root := os.DirFS(d.site)
	var paths []string
	err = filepath.WalkDir(d.site, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			p, err = filepath.Rel(d.site, p)
			paths = append(paths, filepath.ToSlash(p))
		}
		return err
	})
	if err != nil {
		return page{}, err
	}
	for _, p := range paths {
		f, err := root.Open(p)
		if err != nil {
			return page{}, err
		}
		want, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			return page{}, err
		}
		got, status, err := fetch(ctx, url+"/"+p)
		if err != nil {
			return page{}, err
		}
		fmt.Printf("  GET /%-32s %s  %7d bytes  ETag %s\n", p, status, len(got.body), got.etag)
		if got.body != string(want) {
			return page{}, fmt.Errorf("fetching /%s: it is not what was published", p)
		}
		if p == "index.html" {
			first = got
		}
	}
	return first, nil
}

func fetch(ctx context.Context, url string) (page, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return page{}, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return page{}, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("fetching %s: %s", url, resp.Status)
	}
	return page{etag: resp.Header.Get("ETag"), body: string(body)}, resp.Status, err
}

// again shows the two things that come after the first build: one that finds
// nothing to do, and one after an edit that keeps the page's length.
func (d *demo) again(ctx context.Context, image string, before page) error {
	fmt.Println("\nThe same again, nothing changed:")
	same, err := d.build(ctx)
	if err != nil {
		return err
	}
	if same != image {
		return fmt.Errorf("an unchanged site gave another image: %s", same)
	}
	fmt.Println("\nOne page changed, with the same length:")
	index := filepath.Join(d.site, "index.html")
	changed := strings.Replace(before.body, "decant", "DECANT", 1)
	if changed == before.body {
		return errors.New("the sample page does not say decant")
	}
	if err := os.WriteFile(index, []byte(changed), 0o644); err != nil {
		return err
	}
	next, err := d.build(ctx)
	if err != nil {
		return err
	}
	after, err := d.show(ctx, next, false)
	if err != nil {
		return err
	}
	if after.etag == before.etag {
		return fmt.Errorf("the new page has the old ETag %s: browsers would keep the old site", after.etag)
	}
	fmt.Printf("\nindex.html kept its length and got a new ETag (%s, was %s), so browsers take the new site.\n",
		after.etag, before.etag)
	return nil
}

// project builds a node project in a throwaway container, and serves it.
func (d *demo) project(ctx context.Context) error {
	layout, err := d.bed.Node(ctx, "22")
	if err != nil {
		return err
	}
	builder := d.host + "/library/node:22-slim"
	if _, err := d.run(ctx, "push", "oci:"+layout, builder, d.host+"/library/node"); err != nil {
		return err
	}
	fmt.Println("\nA node project, built in a throwaway container:")
	image, err := d.run(ctx, "build", project, "--builder", builder, "--base", d.host+"/nginx:stable",
		"-t", d.host+"/shop/app:1")
	if err != nil {
		return err
	}
	return d.showProject(ctx, image, false)
}

// showProject serves what was made of the project.
func (d *demo) showProject(ctx context.Context, image string, keep bool) error {
	d.site = ""
	p, err := d.show(ctx, image, keep)
	if err == nil && !strings.Contains(p.body, "<script type=\"module\"") {
		err = fmt.Errorf("the served page is not the project's: %.200s", p.body)
	}
	return err
}

// dockerfile builds the project as a Dockerfile says, twice: the second time
// nothing is run.
func (d *demo) dockerfile(ctx context.Context, keep bool) error {
	layout, err := d.bed.Nginx(ctx)
	if err != nil {
		return err
	}
	if _, err := d.run(ctx, "push", "oci:"+layout, d.host+"/library/nginx"); err != nil {
		return err
	}
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return err
	}
	fmt.Printf("\nThe same by a Dockerfile, with the registry as Docker Hub's mirror:\n\n%s", text)
	args := []string{"build", "-f", dockerfile, project, "--mirror", "docker.io=" + d.host, "-t", d.host + "/shop/docker:1"}
	image, err := d.run(ctx, args...)
	if err != nil {
		return err
	}
	fmt.Println("\nThe same again, nothing changed:")
	same, err := d.run(ctx, args...)
	if err != nil {
		return err
	}
	if same != image {
		return fmt.Errorf("an unchanged Dockerfile gave another image: %s", same)
	}
	return d.showProject(ctx, image, keep)
}

func say(text string) { fmt.Fprintln(os.Stderr, "demo:", text) }
