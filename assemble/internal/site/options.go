package site

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Mode says how a site answers a path that is no file.
type Mode string

// The modes. In none of them is a missing script answered with a page.
const (
	// Auto, or "", is decided from the site's files and ServeOptions.FrameworkHint.
	Auto Mode = "auto"
	// SinglePage answers with index.html: the paths are the application's own.
	SinglePage Mode = "single-page"
	// MultiPage answers with 404.html, or 200.html if the site has one: every page is
	// a file.
	MultiPage Mode = "multi-page"
)

// CSPAuto is the value of ServeOptions.CSP that has a policy computed.
const CSPAuto = "auto"

// The paths that nginx answers itself.
const (
	healthPath = "/healthz"
	envName    = "env.js" // below the base path
)

// maxHeader bounds a header: nginx reads no word of its configuration beyond 4 KiB, and
// proxies in front of it often take no more than that of all headers.
const maxHeader = 3000

// ServeOptions says how a site is served. The zero value is the default of each.
type ServeOptions struct {
	Mode Mode
	// FrameworkHint is what the project's framework usually makes of a site. It decides
	// for Auto where the files do not; "" is not known.
	FrameworkHint Mode
	// Port is where nginx listens; 0 is the base's, or 8080 where a user who is not
	// root may not have that.
	Port int
	// IPv6 listens there too. nginx does not start on a system that has none.
	IPv6 bool
	// User is the image's user, as in its configuration; "" is the base's.
	User string
	// BasePath is the path of the site's address, such as "/shop/"; "" is "/". The
	// site's files are then below it in the web root: see Place.
	BasePath string
	// Headers are added to every answer of the site. One that decant sets itself is
	// replaced, or with an empty Value left out.
	Headers []Header
	Proxies []Proxy
	// CSP is a Content-Security-Policy, CSPAuto, or "" for none.
	CSP string
	// RuntimeEnv are names of variables, or beginnings of names with a star at the end,
	// whose values at the start of the container the site finds in window.__env, by
	// loading env.js from its base path.
	RuntimeEnv []string
	// Brotli serves .br siblings, and makes them. The base's nginx.conf has to load the
	// module; without it nginx does not start.
	Brotli bool
}

// Header is one header of an answer.
type Header struct{ Name, Value string }

// Proxy hands requests for Path, and everything below it, to the server at URL. As
// in nginx, a URL with a path replaces Path by it, and one without keeps it. nginx
// looks up the name in URL when it starts, and does not start without it.
type Proxy struct{ Path, URL string }

// OptionError is a value of ServeOptions that cannot be served.
type OptionError struct {
	Option string // by its field's name
	Value  string
	What   string // is wrong with it, as a clause
	Fix    string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("serving the site: %s %q: %s", e.Option, e.Value, e.What)
}

// Hint returns the way out.
func (e *OptionError) Hint() string { return e.Fix }

var (
	// plainPath is a path that needs no quoting and no decoding, and hides no dot-file.
	plainPath  = regexp.MustCompile(`^(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?$`)
	headerName = regexp.MustCompile("^[A-Za-z0-9][A-Za-z0-9-]*$")
	envPattern = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*|[A-Za-z_][A-Za-z0-9_]*\*)$`)
	hostName   = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	proxyPath  = regexp.MustCompile(`^(?:/[A-Za-z0-9._~-]+)*/?$`)
)

// reserved are headers that follow from the file that is sent.
var reserved = map[string]bool{
	"cache-control": true, "connection": true, "content-encoding": true, "content-length": true,
	"content-range": true, "content-type": true, "date": true, "etag": true,
	"last-modified": true, "transfer-encoding": true, "vary": true,
}

// Validate reports the first value that cannot be served, as an *OptionError. It
// touches nothing.
func (o *ServeOptions) Validate() error {
	for _, m := range []struct {
		option string
		mode   Mode
	}{{"Mode", o.Mode}, {"FrameworkHint", o.FrameworkHint}} {
		switch m.mode {
		case "", Auto, SinglePage, MultiPage:
		default:
			return &OptionError{m.option, string(m.mode), "there is no such mode",
				"one of auto, single-page, multi-page"}
		}
	}
	if o.Port < 0 || o.Port > 65535 {
		return &OptionError{"Port", strconv.Itoa(o.Port), "it is no port", "a port is from 1 to 65535"}
	}
	if b := o.BasePath; b != "" && b != "/" && !plainPath.MatchString(b) {
		return &OptionError{"BasePath", b, "it is no plain absolute path", "write it as /shop/"}
	}
	if err := o.checkHeaders(); err != nil {
		return err
	}
	if err := o.checkProxies(); err != nil {
		return err
	}
	for _, name := range o.RuntimeEnv {
		if !envPattern.MatchString(name) {
			return &OptionError{"RuntimeEnv", name, "it is no name of a variable, nor the beginning of one",
				"write APP_TITLE, or APP_* for all that begin so"}
		}
	}
	return nil
}

func (o *ServeOptions) checkHeaders() error {
	seen := map[string]bool{}
	if o.CSP != "" {
		seen["content-security-policy"] = true
	}
	if what := valueFault(o.CSP); what != "" {
		return &OptionError{"CSP", o.CSP, what, "write the policy in one short line, or auto"}
	}
	for _, h := range o.Headers {
		lower := strings.ToLower(h.Name)
		switch what := valueFault(h.Value); {
		case !headerName.MatchString(h.Name):
			return &OptionError{"Headers", h.Name, "it is no name of a header", "write NAME: VALUE"}
		case reserved[lower]:
			return &OptionError{"Headers", h.Name, "it follows from the file that is sent",
				"leave it out, or write a configuration of your own"}
		case what != "":
			return &OptionError{"Headers", h.Name + ": " + h.Value, what,
				"write it in one short line without $"}
		case seen[lower]:
			return &OptionError{"Headers", h.Name, "it is there twice", "give one value"}
		}
		seen[lower] = true
	}
	return nil
}

// valueFault says what keeps a value from being a header's. A dollar sign begins a
// variable in nginx, wherever it stands, and cannot be quoted.
func valueFault(value string) string {
	switch {
	case len(value) > maxHeader:
		return "it is longer than nginx and proxies take"
	case strings.Contains(value, "$"):
		return "nginx cannot send a dollar sign"
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "it has a control character"
	case strings.TrimSpace(value) != value:
		return "it begins or ends with space"
	}
	return ""
}

func (o *ServeOptions) checkProxies() error {
	seen := map[string]bool{}
	for _, p := range o.Proxies {
		bare := strings.TrimSuffix(p.Path, "/")
		switch {
		case !plainPath.MatchString(p.Path):
			return &OptionError{"Proxies", p.Path, "it is no plain absolute path below /",
				"write /api=http://HOST:PORT"}
		case bare == healthPath || bare == o.base()+envName || bare+"/" == o.base():
			return &OptionError{"Proxies", p.Path, "the site itself answers there", "choose another path"}
		case seen[bare]:
			return &OptionError{"Proxies", p.Path, "it is there twice", "give one server for it"}
		}
		seen[bare] = true
		if what := upstreamFault(p.URL); what != "" {
			return &OptionError{"Proxies", p.URL, what, "write " + p.Path + "=http://HOST:PORT"}
		}
	}
	return nil
}

// upstreamFault says what keeps a URL from being that of a proxy's server.
func upstreamFault(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "it is no URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return "it is not http or https"
	case u.User != nil:
		return "it has a password, which the image would hold"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(text, "#"):
		return "it has more than a path"
	case !proxyPath.MatchString(u.EscapedPath()):
		return "its path is not plain"
	case net.ParseIP(u.Hostname()) == nil && !hostName.MatchString(u.Hostname()):
		return "its host is none"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "its port is none"
		}
	}
	return ""
}

// base is the base path with both its slashes.
func (o *ServeOptions) base() string {
	if o.BasePath == "" || o.BasePath == "/" {
		return "/"
	}
	return strings.TrimSuffix(o.BasePath, "/") + "/"
}

// Place is where the files of a site go in the image, so that a server of webRoot
// answers with them below basePath. All paths are relative, as those of layer.Entry.
func Place(webRoot, basePath string) string {
	return strings.Trim(strings.Trim(webRoot, "/")+"/"+strings.Trim(basePath, "/"), "/")
}
