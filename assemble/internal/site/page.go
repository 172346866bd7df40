package site

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// page is what an html file has that matters to a server.
type page struct {
	unread                    bool // it is too large
	scripts, handlers, styles []string
	refs                      []reference
	base                      string // the address that references start at; "" is the page's
}

// reference is a file that a page loads.
type reference struct {
	url  string
	line int
}

// Bounds of what one page is remembered for.
const (
	maxRefs    = 2000
	maxSources = 500
)

// readPage reads the tags of a page. Like a browser it understands everything.
func readPage(data []byte) *page {
	p := &page{}
	z := html.NewTokenizer(bytes.NewReader(data))
	line := 1
	inline := "" // the element whose text comes next
	for {
		kind := z.Next()
		raw := z.Raw()
		switch kind {
		case html.ErrorToken:
			p.scripts, p.handlers, p.styles = tidy(p.scripts), tidy(p.handlers), tidy(p.styles)
			return p
		case html.StartTagToken, html.SelfClosingTagToken:
			lines := bytes.Count(raw, newline)
			inline = p.tag(z.Token(), line)
			line += lines
			continue
		case html.TextToken:
			lines := bytes.Count(raw, newline)
			switch inline {
			case "script":
				p.scripts = append(p.scripts, hashSource(z.Text()))
			case "style":
				p.styles = append(p.styles, hashSource(z.Text()))
			}
			line += lines
		default:
			line += bytes.Count(raw, newline)
		}
		inline = ""
	}
}

func tidy(sources []string) []string {
	slices.Sort(sources)
	return slices.Compact(sources)
}

// hashSource names inline content in a policy.
func hashSource(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// tag takes what a tag says, and returns its name if its text matters.
func (p *page) tag(t html.Token, line int) (inline string) {
	attr := map[string]string{}
	for _, a := range t.Attr {
		if _, twice := attr[a.Key]; twice {
			continue // the first counts
		}
		attr[a.Key] = a.Val
		if strings.HasPrefix(a.Key, "on") && len(p.handlers) < maxSources {
			p.handlers = append(p.handlers, hashSource([]byte(a.Val)))
		}
	}
	switch t.Data {
	case "base":
		if p.base == "" {
			p.base = strings.TrimSpace(attr["href"])
		}
	case "script":
		return p.script(attr, line)
	case "style":
		return "style"
	case "link":
		p.link(attr, line)
	case "img", "source", "video", "audio", "track", "embed", "image":
		p.load(attr["src"], line)
		p.load(attr["poster"], line)
		p.srcset(attr["srcset"], line)
	}
	return ""
}

func (p *page) script(attr map[string]string, line int) string {
	src, external := attr["src"]
	switch {
	case !executed(attr["type"]):
		return ""
	case !external:
		return "script"
	}
	p.load(src, line)
	if source := foreign(src); source != "" && len(p.scripts) < maxSources {
		p.scripts = append(p.scripts, source)
	}
	return ""
}

// executed tells scripts from blocks of data, which no policy concerns.
func executed(kind string) bool {
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch kind {
	case "", "module", "importmap", "speculationrules":
		return true
	}
	return strings.HasSuffix(kind, "javascript") || strings.HasSuffix(kind, "ecmascript")
}

func (p *page) link(attr map[string]string, line int) {
	href := attr["href"]
	source := foreign(href)
	for _, rel := range strings.Fields(strings.ToLower(attr["rel"])) {
		switch rel {
		case "stylesheet":
			if source != "" && len(p.styles) < maxSources {
				p.styles = append(p.styles, source)
			}
		case "modulepreload", "preload", "prefetch":
			script := rel == "modulepreload" || attr["as"] == "script"
			if source != "" && script && len(p.scripts) < maxSources {
				p.scripts = append(p.scripts, source)
			}
		case "icon", "manifest", "apple-touch-icon", "mask-icon":
		default:
			continue
		}
		p.load(href, line)
		return
	}
}

func (p *page) srcset(set string, line int) {
	if strings.Contains(set, "data:") {
		return
	}
	for _, candidate := range strings.Split(set, ",") {
		if fields := strings.Fields(candidate); len(fields) > 0 {
			p.load(fields[0], line)
		}
	}
}

// load remembers a reference to this server.
func (p *page) load(ref string, line int) {
	ref = strings.TrimSpace(ref)
	ref, _, _ = strings.Cut(ref, "#")
	ref, _, _ = strings.Cut(ref, "?")
	u, err := url.Parse(ref)
	if ref == "" || err != nil || u.Scheme != "" || u.Host != "" || strings.HasPrefix(ref, "//") ||
		strings.ContainsAny(ref, "{}<>%$") && !escaped(ref) || len(p.refs) == maxRefs {
		return
	}
	p.refs = append(p.refs, reference{u.Path, line})
}

// escaped tells an address with escapes from a template's placeholder.
func escaped(ref string) bool {
	return !strings.ContainsAny(ref, "{}<>$") && !strings.Contains(ref, "%PUBLIC")
}

// foreign writes the address of another server as a source of a policy; "" is none.
func foreign(ref string) string {
	u, err := url.Parse(strings.TrimSpace(ref))
	if err != nil || u.Host == "" || u.User != nil || !hostPort(u.Host) {
		return ""
	}
	source := u.Host
	switch u.Scheme {
	case "http", "https":
		source = u.Scheme + "://" + u.Host
	case "":
	default:
		return ""
	}
	if p := u.EscapedPath(); proxyPath.MatchString(p) {
		return source + p
	}
	return source
}

func hostPort(host string) bool {
	return !strings.ContainsFunc(host, func(r rune) bool {
		return r > 0x7f || !isAlnum(byte(r)) && r != '.' && r != '-' && r != ':'
	})
}
