package plan

import (
	"errors"
	"path"
	"regexp"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	mode "github.com/tonistiigi/dchapes-mode"
)

// copySource is a COPY or an ADD as it is written.
type copySource struct {
	name     string
	from     string
	paths    []string // the last one is the destination
	contents []instructions.SourceContent
	exec     CopyExec // what needs no more than expansion
}

func copyOf(p *instructions.CopyCommand) copySource {
	return copySource{name: "COPY", from: p.From, contents: p.SourceContents,
		paths: append(p.SourcePaths, p.DestPath),
		exec: CopyExec{Chown: p.Chown, Chmod: p.Chmod, Link: p.Link, Parents: p.Parents,
			Exclude: p.ExcludePatterns}}
}

func addOf(p *instructions.AddCommand) copySource {
	return copySource{name: "ADD", contents: p.SourceContents,
		paths: append(p.SourcePaths, p.DestPath),
		exec: CopyExec{Add: true, Chown: p.Chown, Chmod: p.Chmod, Link: p.Link,
			Exclude: p.ExcludePatterns, Checksum: p.Checksum, Unpack: p.Unpack}}
}

func (e *evaluation) evalCopy(origin Origin, n *parser.Node, c copySource) error {
	x := c.exec
	x.Origin = origin
	fields := []string{x.Chown, x.Chmod, x.Checksum}
	if err := e.expandAll(n, fields); err != nil {
		return err
	}
	if err := e.expandAll(n, c.paths); err != nil {
		return err
	}
	x.Chown, x.Chmod, x.Checksum = fields[0], fields[1], fields[2]
	sources, dest := c.paths[:len(c.paths)-1], c.paths[len(c.paths)-1]
	var err error
	if c.from != "" {
		if x.From, err = e.g.file.source(c.from, e.stage.Index); err != nil {
			return err
		}
		e.needs.add(x.From)
	}
	for _, doc := range c.contents {
		text := doc.Data
		if doc.Expand {
			expanded, err := expandRaw(text, e.env)
			e.lintUnset(n, expanded.unset)
			if err != nil {
				return err
			}
			text = expanded.text
		}
		x.Inline = append(x.Inline, InlineFile{Name: doc.Path, Data: []byte(text)})
	}
	if err := x.setSources(sources); err != nil {
		return err
	}
	x.Dest = e.destination(dest)
	x.CreatedBy = c.createdBy(x, sources, dest)
	size := len(x.CreatedBy)
	for _, f := range x.Inline {
		size += len(f.Data)
	}
	e.step(x, size)
	return nil
}

// setSources sorts the sources into those of files and those of URLs, and checks
// that all of the instruction goes together.
func (x *CopyExec) setSources(sources []string) error {
	for _, src := range sources {
		switch {
		case isGit(src) && !x.Add:
			return wrong("", "COPY takes no git repository")
		case isGit(src):
			return wrong("add a tarball of the repository by its URL, or clone it in a RUN",
				"git repositories are not supported")
		case isURL(src) && !x.Add:
			return wrong("use ADD", "COPY takes no URL")
		case isURL(src):
			x.URLs = append(x.URLs, src)
		case x.Parents:
			x.Sources = append(x.Sources, src)
		default:
			x.Sources = append(x.Sources, path.Join("/", src))
		}
	}
	for _, check := range []func(CopyExec) error{checkChown, checkChmod, checkChecksum} {
		if err := check(*x); err != nil {
			return err
		}
	}
	return nil
}

// destination is absolute, with a slash at its end if it is to be a directory.
func (e *evaluation) destination(dest string) string {
	to := e.absolute(dest)
	isDir := dest == "" || dest == "." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.")
	if isDir && to != "/" {
		to += "/"
	}
	return to
}

// createdBy is what BuildKit writes into the history.
func (c copySource) createdBy(x CopyExec, sources []string, dest string) string {
	words := []string{c.name}
	if x.Parents {
		words = append(words, "--parents")
	}
	if x.Chown != "" {
		words = append(words, "--chown="+x.Chown)
	}
	if x.Chmod != "" {
		words = append(words, "--chmod="+x.Chmod)
	}
	words = append(words, sources...)
	for _, f := range x.Inline {
		words = append(words, "<<"+f.Name)
	}
	return strings.Join(append(words, dest, "# buildkit"), " ")
}

// checkChown refuses names where there is no passwd to look them up in.
func checkChown(x CopyExec) error {
	if !x.Link || x.Chown == "" {
		return nil
	}
	user, group, both := strings.Cut(x.Chown, ":")
	if isNumber(user) && (!both || isNumber(group)) {
		return nil
	}
	return wrong("use numbers, as --chown=1000:1000, or remove --link",
		"--chown=%s: --link cannot look up names", oneLine(x.Chown))
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

func checkChmod(x CopyExec) error {
	s := x.Chmod
	if s == "" {
		return nil
	}
	octal, err := strconv.ParseUint(s, 8, 32)
	if err == nil && octal <= 0o7777 {
		return nil
	}
	// What looks like a number is one, and too large, or no octal one.
	if strings.ContainsAny(s, "=+-") {
		if _, err = mode.Parse(s); err == nil {
			return nil
		}
	}
	return wrong("it is octal, as 0644, or symbolic, as u=rwX,go=rX",
		"--chmod=%s: it is no mode", oneLine(s))
}

func checkChecksum(x CopyExec) error {
	if x.Checksum == "" {
		return nil
	}
	if len(x.URLs) != 1 || len(x.Sources)+len(x.Inline) > 0 {
		return errors.New("--checksum needs one source, that is a URL")
	}
	if _, err := v1.NewHash(x.Checksum); err != nil {
		return wrong("it is sha256: and 64 digits", "--checksum=%s: it is no digest", clip(x.Checksum))
	}
	return nil
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
}

// The forms of a repository: with a protocol of its own, as ssh takes it, or on a
// web server as NAME.git.
var (
	gitProtocol = regexp.MustCompile(`^(?i:git|ssh)://`)
	gitSSH      = regexp.MustCompile(`^[A-Za-z0-9_-]+@[A-Za-z0-9.-]+:`)
	gitWeb      = regexp.MustCompile(`^https?://[^?#]*\.git(?:[?#]|$)`)
)

func isGit(s string) bool {
	return gitProtocol.MatchString(s) || gitSSH.MatchString(s) || gitWeb.MatchString(s)
}
