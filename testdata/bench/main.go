// Command bench times whole builds of decant and of the peers that are
// installed, side by side in one run, and prints seconds, ratios, peak memory
// and requests to the registry. It runs as root or as a plain user:
//
//	go run ./testdata/bench [-sites small,medium,large] [-runs 3]
//	go run ./testdata/bench -sites none -node
//	go run ./testdata/bench -sites none -dockerfiles
//
// -sites times builds of finished sites, -node those of node projects (node.go),
// -dockerfiles those of Dockerfiles (dockerfiles.go).
//
// Every tool gets the same site, the same base and the same registry (Debian's
// docker-registry on loopback), and a repository of its own there. Three cases
// are timed: cold (nothing cached, nothing in the repository but the base),
// unchanged (the same again) and one file changed. The numbers of one run can
// be compared with one another, and with nothing else: machines are noisy.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/decant-build/decant/testdata/bed"
)

func main() {
	sites := flag.String("sites", "small,medium,large", "sites, separated by commas, or none")
	node := flag.Bool("node", false, "time the sandbox and builds of node projects too")
	files := flag.Bool("dockerfiles", false, "time builds of Dockerfiles too")
	runs := flag.Int("runs", 3, "runs of each case; the median counts")
	flag.Parse()
	var names []string
	if *sites != "" && *sites != "none" {
		names = strings.Split(*sites, ",")
	}
	if *runs < 1 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, names, *node, *files, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench prepares what all tools share, then times each site, node builds, and
// builds of Dockerfiles.
func bench(ctx context.Context, sites []string, node, files bool, runs int) error {
	tmp, err := os.MkdirTemp("", "decant-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	b, err := bed.Open(ctx, "", func(s string) { fmt.Fprintln(os.Stderr, "bench:", s) })
	if err != nil {
		return err
	}
	decant, err := buildDecant(ctx, tmp)
	if err != nil {
		return err
	}
	if len(sites) > 0 {
		if err := benchSites(ctx, b, tmp, decant, sites, runs); err != nil {
			return err
		}
	}
	if node {
		if err := benchNode(ctx, b, tmp, decant, runs); err != nil {
			return err
		}
	}
	if files {
		return benchDockerfiles(ctx, b, tmp, dockerfiles, builders(decant), runs, os.Stdout)
	}
	return nil
}

func benchSites(ctx context.Context, b *bed.Bed, tmp, decant string, sites []string,
	runs int) error {
	tools := findTools(ctx, b, tmp, decant)
	for _, name := range sites {
		if err := benchSite(ctx, b, tmp, name, tools, runs); err != nil {
			return fmt.Errorf("site %s: %w", name, err)
		}
	}
	return nil
}

// buildDecant builds this checkout's decant into dir.
func buildDecant(ctx context.Context, dir string) (string, error) {
	decant := filepath.Join(dir, "decant")
	build := exec.CommandContext(ctx, "go", "build", "-o", decant, "./cmd/decant")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building decant: %w: %s", err, out)
	}
	return decant, nil
}

// A tool builds and pushes one site.
type tool struct {
	name string
	// build returns the commands that turn site into the image ref; base is its
	// base in the same registry, and state a directory that lasts from one run
	// to the next and is emptied before a cold one.
	build func(j job) []*exec.Cmd
}

type job struct {
	ctx             context.Context
	site, base, ref string
	state           string
}

func (j job) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(j.ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+j.state, "XDG_CACHE_HOME="+filepath.Join(j.state, "cache"),
		"XDG_DATA_HOME="+filepath.Join(j.state, "data"), "TMPDIR="+j.state)
	return cmd
}

// shell runs a pipeline; the arguments are $1, $2, ….
func (j job) shell(script string, args ...string) *exec.Cmd {
	return j.command("sh", append([]string{"-ec", script, "sh"}, args...)...)
}

func findTools(ctx context.Context, b *bed.Bed, tmp, decant string) []tool {
	tools := []tool{
		{"decant", func(j job) []*exec.Cmd {
			return []*exec.Cmd{j.command(decant, "build", j.site, "--base", j.base, "-t", j.ref, "-q")}
		}},
		{"decant zstd", func(j job) []*exec.Cmd {
			return []*exec.Cmd{j.command(decant, "build", j.site, "--base", j.base, "-t", j.ref, "-q",
				"--compression", "zstd")}
		}},
	}
	crane := filepath.Join(tmp, "crane")
	if out, err := exec.CommandContext(ctx, "env", "GOBIN="+tmp, "go", "install",
		"github.com/google/go-containerregistry/cmd/crane@v0.22.1").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: no crane: %s\n", out)
	} else {
		tools = append(tools, tool{"crane append", func(j job) []*exec.Cmd {
			return []*exec.Cmd{j.shell(`tar -C "$1" --transform 's,^\.,usr/share/nginx/html,' -cf "$5/site.tar" .
				"$2" append --platform linux/amd64 -b "$3" -f "$5/site.tar" -t "$4" >/dev/null`,
				j.site, crane, j.base, j.ref, j.state)}
		}})
	}
	if path, err := exec.LookPath("buildah"); err == nil {
		tools = append(tools, buildah(path))
	}
	umoci, err1 := b.Tool(ctx, "umoci")
	skopeo, err2 := b.Tool(ctx, "skopeo")
	if err1 == nil && err2 == nil {
		tools = append(tools, umociSkopeo(umoci.Command(ctx).Path, skopeo.Command(ctx).Path))
	}
	return tools
}

func buildah(path string) tool {
	return tool{"buildah", func(j job) []*exec.Cmd {
		return []*exec.Cmd{j.shell(`printf 'FROM %s\nCOPY . /usr/share/nginx/html\n' "$3" > "$5/Containerfile"
			"$2" --root "$5/root" --runroot "$5/run" --storage-driver overlay build --layers --isolation chroot \
				--tls-verify=false -q -f "$5/Containerfile" -t "$4" "$1" >/dev/null
			"$2" --root "$5/root" --runroot "$5/run" --storage-driver overlay push -q --tls-verify=false "$4"`,
			j.site, path, j.base, j.ref, j.state)}
	}}
}

func umociSkopeo(umoci, skopeo string) tool {
	return tool{"umoci+skopeo", func(j job) []*exec.Cmd {
		return []*exec.Cmd{j.shell(`rm -rf "$5/layout"
			"$3" copy -q --src-tls-verify=false --override-arch amd64 docker://"$6" oci:"$5/layout:site"
			"$2" insert --rootless --image "$5/layout:site" "$1" /usr/share/nginx/html >/dev/null
			"$3" copy -q --dest-tls-verify=false oci:"$5/layout:site" docker://"$4"`,
			j.site, umoci, skopeo, j.ref, j.state, j.base)}
	}}
}

// figures are what one run of a tool took.
type figures struct {
	seconds  float64
	peakMB   float64
	requests int
}

// benchSite times every tool on one site and prints the table.
func benchSite(ctx context.Context, b *bed.Bed, tmp, name string, tools []tool, runs int) error {
	pristine, err := b.Site(ctx, name)
	if err != nil {
		return err
	}
	results := map[string]map[string][]figures{}
	tools = slices.Clone(tools)
	for run := range runs {
		for i := 0; i < len(tools); i++ {
			t := tools[i]
			r, err := oneRun(ctx, b, tmp, pristine, t, run)
			if err != nil && i > 0 && !strings.HasPrefix(t.name, "decant") && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %s is left out: %v\n", name, t.name, err)
				tools = slices.Delete(tools, i, i+1)
				i--
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			if results[t.name] == nil {
				results[t.name] = map[string][]figures{}
			}
			for c, f := range r {
				results[t.name][c] = append(results[t.name][c], f)
			}
		}
	}
	printTable(name, tools, results)
	return nil
}

var cases = []string{"cold", "unchanged", "one file"}

// oneRun takes one tool through the three cases, with a registry and a copy
// of the site of its own.
func oneRun(ctx context.Context, b *bed.Bed, tmp, pristine string, t tool, run int) (map[string]figures, error) {
	work, err := os.MkdirTemp(tmp, "run-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	site := filepath.Join(work, "site")
	if out, err := exec.CommandContext(ctx, "cp", "-a", pristine, site).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copying the site: %w: %s", err, out)
	}
	reg, err := b.Registry(ctx)
	if err != nil {
		return nil, err
	}
	defer reg.Stop()
	base := reg.Host() + "/nginx:stable"
	if err := b.PushNginx(ctx, base); err != nil {
		return nil, err
	}
	state := filepath.Join(work, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		return nil, err
	}
	j := job{ctx: ctx, site: site, base: base, ref: reg.Host() + "/shop/web:1", state: state}
	result := map[string]figures{}
	for _, c := range cases {
		if c == "one file" {
			if err := changeOneFile(site); err != nil {
				return nil, err
			}
		}
		before := reg.Requests()
		f, err := measure(t.build(j))
		if err != nil {
			return nil, fmt.Errorf("%s, run %d: %w", c, run, err)
		}
		f.requests = reg.Requests() - before
		result[c] = f
	}
	return result, nil
}

// measure runs commands one after the other.
func measure(cmds []*exec.Cmd) (figures, error) {
	var f figures
	start := time.Now()
	for _, cmd := range cmds {
		if out, err := cmd.CombinedOutput(); err != nil {
			return f, fmt.Errorf("%s: %w: %s", cmd, err, out)
		}
		if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
			f.peakMB = max(f.peakMB, float64(usage.Maxrss)/1024)
		}
	}
	f.seconds = time.Since(start).Seconds()
	return f, nil
}

// changeOneFile gives a file in the middle of the site new content of the
// same length.
func changeOneFile(site string) error {
	var files []string
	err := filepath.WalkDir(site, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, p)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no file to change in %s: %w", site, err)
	}
	file := files[len(files)/2]
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		data[len(data)/2] ^= 1
	}
	return os.WriteFile(file, data, 0o644)
}

func printTable(site string, tools []tool, results map[string]map[string][]figures) {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s\t", site)
	for _, c := range cases {
		fmt.Fprintf(w, "%s s\tratio\tpeak MB\trequests\t", c)
	}
	fmt.Fprintln(w)
	for _, t := range tools {
		fmt.Fprintf(w, "%s\t", t.name)
		for _, c := range cases {
			f, first := median(results[t.name][c]), median(results[tools[0].name][c])
			fmt.Fprintf(w, "%.2f\t%.2f\t%.0f\t%d\t", f.seconds, f.seconds/first.seconds, f.peakMB, f.requests)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

// median is the run with the median time.
func median(runs []figures) figures {
	sorted := slices.SortedFunc(slices.Values(runs), func(a, b figures) int {
		switch {
		case a.seconds < b.seconds:
			return -1
		case a.seconds > b.seconds:
			return 1
		}
		return 0
	})
	return sorted[len(sorted)/2]
}
