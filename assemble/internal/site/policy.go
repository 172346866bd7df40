package site

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	// shared bounds a policy that all pages have. A longer one is split up, for it goes
	// with every answer.
	shared = 1500
	// maxPolicies is how many pages may have a policy of their own: nginx tries their
	// patterns one after the other.
	maxPolicies = 500
)

// pagePolicy is the policy of a page whose path matches, quoted.
type pagePolicy struct{ Pattern, Policy string }

// addPolicy adds the Content-Security-Policy. One computed names every script that the
// pages have: a script that somebody smuggles into a page is not executed. Images,
// connections and frames may come from wherever there is TLS, for no page says what its
// scripts will load. Attributes with styles are allowed, as templates make them.
func (d *confData) addPolicy(a *Analysis, o ServeOptions) error {
	switch o.CSP {
	case "":
		return nil
	case CSPAuto:
	default:
		d.Policy = quoted(o.CSP)
		return nil
	}
	var all Page
	for _, p := range a.Pages {
		if a.Legacy && len(p.Scripts)+len(p.Handlers) > 0 {
			return &OptionError{"CSP", o.CSP,
				fmt.Sprintf("the page %q has scripts in it, and not all pages are UTF-8: browsers take the sums of decoded text", p.Path),
				"write the pages in UTF-8, or give a policy in full"}
		}
		if p.Unread {
			return &OptionError{"CSP", o.CSP,
				fmt.Sprintf("the page %q is too large to be looked into", p.Path),
				"give a policy in full, or make the page smaller"}
		}
		all.Scripts = append(all.Scripts, p.Scripts...)
		all.Handlers = append(all.Handlers, p.Handlers...)
		all.Styles = append(all.Styles, p.Styles...)
	}
	all.Scripts, all.Handlers, all.Styles = tidy(all.Scripts), tidy(all.Handlers), tidy(all.Styles)
	if one := a.policy(&all); len(one) <= shared || len(a.Pages) == 1 && len(one) <= maxHeader {
		d.Policy = quoted(one)
		return nil
	}
	return d.addPolicies(a, o)
}

// addPolicies gives each page a policy of its own.
func (d *confData) addPolicies(a *Analysis, o ServeOptions) error {
	const way = "move inline scripts into files, or give a policy in full"
	plain := a.policy(&Page{})
	d.Policy = quoted(plain)
	for i := range a.Pages {
		p := &a.Pages[i]
		policy := a.policy(p)
		if policy == plain {
			continue
		}
		if len(policy) > maxHeader {
			return &OptionError{"CSP", o.CSP,
				fmt.Sprintf("the page %q has too many inline scripts", p.Path), way}
		}
		dir, base := path.Split(d.BaseDir + p.Path)
		d.Policies = append(d.Policies, pagePolicy{
			// The path of a directory's page has two slashes where try_files found it.
			pattern(strings.TrimSuffix(dir, "/")) + "/+" + pattern(base) + "$", quoted(policy)})
	}
	if len(d.Policies) > maxPolicies {
		return &OptionError{"CSP", o.CSP,
			fmt.Sprintf("%d pages have inline scripts of their own", len(d.Policies)), way}
	}
	return nil
}

func (a *Analysis) policy(p *Page) string {
	scripts := append([]string{"'self'"}, p.Scripts...)
	if a.Wasm {
		scripts = append(scripts, "'wasm-unsafe-eval'")
	}
	if len(p.Handlers) > 0 {
		scripts = append(append(scripts, "'unsafe-hashes'"), p.Handlers...)
	}
	styles := append([]string{"'self'"}, p.Styles...)
	if a.MakesStyles {
		// With a hash in it browsers would not heed unsafe-inline.
		styles = slices.DeleteFunc(styles, func(s string) bool { return strings.HasPrefix(s, "'sha256-") })
		styles = append(styles, "'unsafe-inline'")
	}
	return strings.Join([]string{
		"default-src 'self'",
		"script-src " + strings.Join(scripts, " "),
		"style-src " + strings.Join(styles, " "),
		"style-src-attr 'unsafe-inline'",
		"img-src 'self' data: blob: https:",
		"font-src 'self' data: https:",
		"media-src 'self' data: blob: https:",
		"connect-src 'self' data: blob: https: wss:",
		"frame-src 'self' blob: https:",
		"worker-src 'self' blob:",
		"object-src 'none'",
		"base-uri 'self'",
		"form-action 'self' https:",
		"frame-ancestors 'self'",
	}, "; ")
}
