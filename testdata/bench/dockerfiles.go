package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/decant-build/decant/testdata/bed"
)

// The third part times builds of Dockerfiles as people have them: FROM node and
// FROM nginx, which each tool is told to take from the registry of the bed. Every
// build ends with a push to that registry. Packages come from a mirror of the npm
// registry on loopback, which the context's .npmrc names.

// A dockerfile is one whose builds are timed.
type dockerfile struct {
	name   string
	app    string // the application below testdata/apps that is built
	dir    string // where it is in the context; "" if it is the context
	source string // a file of the context that somebody works on
	edit   string // what is added to it
	lines  string
}

var dockerfiles = []dockerfile{
	{"dist", "hello-dist", "dist", "dist/index.html", "<!-- edited -->\n", `FROM nginx
COPY dist /usr/share/nginx/html
CMD [ "nginx", "-g", "daemon off;" ]
`},
	{"one stage", "vue-ts", "", "src/main.ts", edited, `FROM node
COPY . .
RUN npm install
RUN npm run build
`},
	{"two stages", "vue-ts", "", "src/main.ts", edited, `FROM node AS builder
COPY . .
RUN npm install
RUN npm run build
FROM nginx
COPY --from=builder dist /usr/share/nginx/html
CMD [ "nginx", "-g", "daemon off;" ]
`},
	{"lockfile first", "vue-ts", "", "src/main.ts", edited, `FROM node AS builder
WORKDIR /app
COPY package*.json .npmrc ./
RUN npm ci
COPY . .
RUN npm run build
FROM nginx
COPY --from=builder /app/dist /usr/share/nginx/html
CMD [ "nginx", "-g", "daemon off;" ]
`},
}

// edited is a statement that reaches the bundle: a stale one would be seen.
const edited = "console.log('edited')\n"

// dockerfileCases are what is timed with each, in this order.
var dockerfileCases = []string{"cold", "unchanged", "source changed"}

// write makes the context in dir, which must not exist.
func (d dockerfile) write(dir, npmRegistry string) error {
	app := filepath.Join("testdata", "apps", d.app)
	if _, err := copyTree(app, dir, d.dir); err != nil {
		return err
	}
	npmrc := "registry=" + npmRegistry + "\n"
	if err := os.WriteFile(filepath.Join(dir, ".npmrc"), []byte(npmrc), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(d.lines), 0o644)
}

// change edits the source file in a context.
func (d dockerfile) change(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, d.source), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(d.edit)
	return errors.Join(err, f.Close())
}

// dockerfileBench is what all builds of Dockerfiles share.
type dockerfileBench struct {
	reg   *bed.Registry
	npm   *npmMirror
	tmp   string
	runs  int
	tools []builder
}

// benchDockerfiles times the files with every tool and prints one table.
func benchDockerfiles(ctx context.Context, b *bed.Bed, tmp string, files []dockerfile,
	tools []builder, runs int, out io.Writer) error {
	reg, err := b.Registry(ctx)
	if err != nil {
		return err
	}
	defer reg.Stop()
	if err := pushBases(ctx, b, reg.Host(), files); err != nil {
		return err
	}
	npm, err := startNpmMirror(tmp)
	if err != nil {
		return err
	}
	defer npm.stop()
	d := &dockerfileBench{reg: reg, npm: npm, tmp: tmp, runs: runs, tools: slices.Clone(tools)}
	if err := d.warm(ctx, files); err != nil {
		return err
	}
	var rows []dockerfileRow
	for _, f := range files {
		r, err := d.time(ctx, f)
		if err != nil {
			return fmt.Errorf("building as %q says: %w", f.name, err)
		}
		rows = append(rows, r...)
	}
	printDockerfiles(out, d.tools, rows)
	return nil
}

// pushBases pushes those of nginx and node that the files name, as Docker Hub
// has them.
func pushBases(ctx context.Context, b *bed.Bed, host string, files []dockerfile) error {
	if err := b.PushNginx(ctx, host+"/library/nginx:latest"); err != nil {
		return err
	}
	needsNode := func(d dockerfile) bool { return strings.HasPrefix(d.lines, "FROM node") }
	if !slices.ContainsFunc(files, needsNode) {
		return nil
	}
	layout, err := b.Node(ctx, "")
	if err != nil {
		return err
	}
	_, err = b.Push(ctx, layout, host+"/library/node:latest")
	return err
}

// warm lets the first tool build the last file once: that fills the npm mirror.
func (d *dockerfileBench) warm(ctx context.Context, files []dockerfile) error {
	_, err := d.one(ctx, files[len(files)-1], d.tools[0], "warm", dockerfileCases[:1])
	return err
}

// dockerfileRow is a case of a Dockerfile, with the runs of each tool by name.
type dockerfileRow struct {
	file, what string
	runs       map[string][]figures
}

// time lets the tools take turns; who begins changes from run to run.
func (d *dockerfileBench) time(ctx context.Context, f dockerfile) ([]dockerfileRow, error) {
	rows := make([]dockerfileRow, len(dockerfileCases))
	for i, c := range dockerfileCases {
		rows[i] = dockerfileRow{f.name, c, map[string][]figures{}}
	}
	for run := range d.runs {
		turn := slices.Clone(d.tools)
		if run%2 == 1 {
			slices.Reverse(turn)
		}
		for _, t := range turn {
			taken, err := d.one(ctx, f, t, fmt.Sprintf("run%d", run), dockerfileCases)
			if err != nil && t.peer && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "bench: %s is left out: %v\n", t.name, err)
				d.tools = slices.DeleteFunc(d.tools, func(o builder) bool { return o.name == t.name })
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			line := fmt.Sprintf("bench: %s, run %d, %s:", f.name, run+1, t.name)
			for i := range rows {
				rows[i].runs[t.name] = append(rows[i].runs[t.name], taken[i])
				line += fmt.Sprintf(" %s %.2f s", rows[i].what, taken[i].seconds)
			}
			fmt.Fprintln(os.Stderr, line)
		}
	}
	return rows, nil
}

// one takes a tool through the cases, with an empty cache, a context and a
// repository of its own.
func (d *dockerfileBench) one(ctx context.Context, f dockerfile, t builder, run string,
	cases []string) (taken []figures, err error) {
	work, err := os.MkdirTemp(d.tmp, "run-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	j := dockerfileJob{job: job{ctx: ctx, state: filepath.Join(work, "state")},
		host: d.reg.Host(), dir: filepath.Join(work, "context")}
	repo := strings.ReplaceAll(strings.Join([]string{f.name, t.name, run}, "/"), " ", "-")
	j.ref = j.host + "/" + repo + ":1"
	if err := os.Mkdir(j.state, 0o700); err != nil {
		return nil, err
	}
	if err := f.write(j.dir, d.npm.url); err != nil {
		return nil, err
	}
	stop, err := t.start(j)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	var last string
	for _, c := range cases {
		if c == "source changed" {
			if err := f.change(j.dir); err != nil {
				return nil, err
			}
		}
		figures, digest, err := d.build(j, t)
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", c, run, err)
		}
		if c == "source changed" && digest == last {
			return nil, fmt.Errorf("%s, %s: the image is the one from before: %s", c, run, digest)
		}
		last = digest
		taken = append(taken, figures)
	}
	return taken, nil
}

// build times one build and returns the digest of what the registry has then.
func (d *dockerfileBench) build(j dockerfileJob, t builder) (figures, string, error) {
	syscall.Sync() // nobody pays for the writes of the one before
	before := d.reg.Requests()
	f, err := measure(t.build(j))
	if err != nil {
		return f, "", err
	}
	f.requests = d.reg.Requests() - before
	digest, err := headDigest(j.ctx, j.ref)
	return f, digest, err
}

// headDigest asks a registry for the digest of host/repository:1.
func headDigest(ctx context.Context, ref string) (string, error) {
	host, repo, _ := strings.Cut(strings.TrimSuffix(ref, ":1"), "/")
	url := "http://" + host + "/v2/" + repo + "/manifests/1"
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return "", err
	}
	for _, t := range []string{"application/vnd.oci.image.index.v1+json",
		"application/vnd.oci.image.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.v2+json"} {
		req.Header.Add("Accept", t)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	digest := resp.Header.Get("Docker-Content-Digest")
	if resp.StatusCode != http.StatusOK || digest == "" {
		return "", fmt.Errorf("reading the digest of %s: the registry answers %s", ref, resp.Status)
	}
	return digest, nil
}

// printDockerfiles prints medians with the least and the most. A ratio is the
// tool's median over the first tool's; the peak is that of the largest process.
func printDockerfiles(out io.Writer, tools []builder, rows []dockerfileRow) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\nDockerfile\tcase\t")
	for i, t := range tools {
		fmt.Fprintf(w, "%s s\tleast..most\t", t.name)
		if i > 0 {
			fmt.Fprintf(w, "%s/%s\t", t.name, tools[0].name)
		}
		fmt.Fprint(w, "peak MB\trequests\t")
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t", r.file, r.what)
		first := median(r.runs[tools[0].name])
		for i, t := range tools {
			seconds := func(a, b figures) int { return int((a.seconds - b.seconds) * 1e9) }
			runs := slices.SortedFunc(slices.Values(r.runs[t.name]), seconds)
			f := median(runs)
			fmt.Fprintf(w, "%.2f\t%.2f..%.2f\t", f.seconds, runs[0].seconds, runs[len(runs)-1].seconds)
			if i > 0 {
				fmt.Fprintf(w, "%.2f\t", f.seconds/first.seconds)
			}
			if t.daemon {
				fmt.Fprintf(w, "-\t%d\t", f.requests)
				continue
			}
			fmt.Fprintf(w, "%.0f\t%d\t", f.peakMB, f.requests)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}
