package bed

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A source is one entry of apt's configuration that offers Debian's packages.
type source struct {
	uris, suites string
	options      []string // fields that decide about trust, as "Name: value" lines
}

// trustFields are taken over from the system, so that the bed trusts what the
// system trusts, no more and no less.
var trustFields = []string{"Signed-By", "Trusted", "Check-Valid-Until"}

// debianSources reads the sources below etc (normally /etc/apt) in both of apt's
// forms and keeps those that offer Debian's main component: an entry of somebody
// else may lack an architecture that the bed asks for.
func debianSources(etc string) ([]source, error) {
	names, err := filepath.Glob(filepath.Join(etc, "sources.list.d", "*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []source
	for _, name := range append([]string{filepath.Join(etc, "sources.list")}, names...) {
		parse := parseOneLine
		switch filepath.Ext(name) {
		case ".list":
		case ".sources":
			parse = parseDeb822
		default:
			continue
		}
		f, err := os.Open(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading apt's sources: %w", err)
		}
		found, err := parse(io.LimitReader(f, 1<<20))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading apt's sources in %s: %w", name, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// parseDeb822 reads stanzas of fields; a line that starts with a blank continues
// the field before it.
func parseDeb822(r io.Reader) ([]source, error) {
	var all []source
	fields := map[string]string{}
	last := ""
	flush := func() {
		if s, ok := debianSource(fields); ok {
			all = append(all, s)
		}
		fields, last = map[string]string{}, ""
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		switch name, value, ok := strings.Cut(line, ":"); {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			fields[last] += "\n" + line
		case ok:
			last = strings.ToLower(name)
			fields[last] = strings.TrimSpace(value)
		}
	}
	flush()
	return all, lines.Err()
}

// parseOneLine reads lines such as
// "deb [signed-by=/usr/share/keyrings/x.gpg] http://deb.debian.org/debian bookworm main".
func parseOneLine(r io.Reader) ([]source, error) {
	var all []source
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		fields := map[string]string{"types": kind}
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				continue
			}
			for _, option := range strings.Fields(options) {
				name, value, _ := strings.Cut(option, "=")
				fields[strings.ToLower(name)] = strings.ReplaceAll(value, ",", " ")
			}
			rest = after
		}
		words := strings.Fields(rest)
		if len(words) < 3 {
			continue
		}
		fields["uris"], fields["suites"] = words[0], words[1]
		fields["components"] = strings.Join(words[2:], " ")
		if s, ok := debianSource(fields); ok {
			all = append(all, s)
		}
	}
	return all, lines.Err()
}

// debianSource judges an entry. Mirrors keep Debian's directory names, "debian"
// and "debian-security", whatever their host is called.
func debianSource(fields map[string]string) (source, bool) {
	s := source{uris: fields["uris"], suites: fields["suites"]}
	ok := slices.Contains(strings.Fields(fields["types"]), "deb") &&
		slices.Contains(strings.Fields(fields["components"]), "main") &&
		!strings.EqualFold(fields["enabled"], "no")
	for _, uri := range strings.Fields(s.uris) {
		ok = ok && slices.ContainsFunc(strings.Split(uri, "/"), func(part string) bool {
			return part == "debian" || part == "debian-security"
		})
	}
	if !ok || s.uris == "" || s.suites == "" {
		return source{}, false
	}
	for _, name := range trustFields {
		if value := fields[strings.ToLower(name)]; value != "" {
			s.options = append(s.options, name+": "+value)
		}
	}
	return s, true
}

// sourcesFile is the private sources file for one architecture. Only the lists
// of packages are wanted, not translations or contents.
func sourcesFile(sources []source, arch string) string {
	var b strings.Builder
	for _, s := range sources {
		fmt.Fprintf(&b, "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nArchitectures: %s\n"+
			"Targets: Packages\n", s.uris, s.suites, arch)
		for _, option := range s.options {
			b.WriteString(option + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}
