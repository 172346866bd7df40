// Package site judges a site before it is published, and says how nginx serves it.
//
// Detect tells from an image's configuration whether it is nginx, and Analyse
// reads the site once. Out of both, Config writes the one server that nginx needs,
// Files everything that goes into the site's layer beside the site itself, and
// Precompress the siblings that nginx sends to who takes them. Check says what
// should not be published, and what is likely a mistake.
//
// # What it promises
//
// Equal sites, images and options give equal bytes. No value that a user gives, and
// no name in the site, ever becomes a directive: it is quoted, or refused with an
// OptionError. Memory stays flat: of a file at most a page of maxPage bytes is held
// at a time. A file that its scan no longer describes is an error.
//
// A name is called immutable only where it carries a hash of its content, by its
// own look and by that of its neighbours; in doubt it is not, which costs a question
// with every use and is never wrong. Pages, service workers and manifests never are.
//
// Names that say that they hold secrets (.env, .npmrc, key stores) are refused; so is
// content that has the shape of a private key or of a token of a known service. Of
// what is refused no error shows more than the place.
//
// # What it does not do
//
// It does not know an arbitrary password from a word, or a key in a binary form (DER).
// It looks at no image, font, film or archive. It executes nothing, so what a script
// will load or evaluate it does not know: a policy of CSPAuto restricts where scripts
// come from, and allows connections and styles that a script may want. It does not
// compile source: the site is what a build left.
//
// Of the base it sees the configuration only, not its files: a module that nginx.conf
// loads there is the caller's to know (ServeOptions.Brotli), and what the history
// says of a base's own configuration is in Server.OwnConf.
package site
