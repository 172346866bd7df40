// Package registry pulls images from registries and pushes images to them.
//
// A Client holds what is shared: connections, credentials, tokens and a cache of
// manifests. Pull resolves a reference to an image or an index whose layers stay
// in the registry until somebody reads them. Target is one push, to one or more
// names: it sends what the registries lack and moves the tags last.
//
// It promises:
//   - Every byte is verified against its digest and size while it is read, and
//     every read from outside is bounded.
//   - No tag moves before everything it needs has arrived everywhere.
//   - Few requests: a layer that the registry has elsewhere is mounted, one that a
//     tag's last manifest names is not asked for, a token is fetched once, and an
//     unchanged image costs one question. Layers that move between registries pass
//     through memory, never through a disk.
//   - What fails for a moment is tried again, with growing pauses: answers 408, 425,
//     429 (after what Retry-After says) and 5xx, broken and silent connections, cut
//     bodies, and tokens that expire in the middle of an upload. Downloads and uploads
//     continue where they stopped if the registry lets them.
//   - Credentials go to their registry and its token server only, over https; over
//     http only where the host is loopback or named in Options.Insecure. Neither
//     errors nor the log contain passwords, tokens, or the queries of URLs.
//   - When a context ends, what runs under it stops, and no goroutine stays behind.
//
// It does not list or delete, knows no schema 1 images, and does not upload foreign
// layers. It builds on the data packages of go-containerregistry, but not on its
// remote client: that loses an upload whose token expires, waits for ever for a
// registry that is silent, does not read Retry-After, and needs more requests.
package registry
