// Package site judges a site before it is published.
//
// CheckNames refuses what should never be served: files that by their name hold
// secrets (.env, .npmrc, key stores), and keys that by their name may be private
// and are. It promises to look at no other file's content, to read little of
// those, and to refuse when it cannot tell.
//
// It does not find a secret under a name that says nothing, such as a token in a
// bundle, and a key in a binary form (DER) in a .key file passes.
package site
