// Package bed is decant's test bed: it makes, out of Debian's packages and the
// npm registry alone, what the tests, the demo and the benchmark need from the
// world: base images of the shape of Docker Hub's nginx and node, the programs
// that results are compared with, a real registry on loopback, sample sites, and
// a way to serve an unpacked image with its own nginx.
//
// It needs Go and Debian's apt-get and dpkg-deb, npm for node bases and sites,
// no root and no container registry. What it makes goes below a cache directory:
// each thing once, under a lock that holds between processes, beside its final
// name and renamed when it is whole; a second call takes milliseconds. A name in
// the cache carries the version of the recipe. Equal packages give equal digests.
//
// Downloads are verified: Debian's by apt against the keys that this system
// trusts, npm's against the digests in the recipes. The images are test
// equipment and not for production: nobody updates them.
//
// The bed works on Linux. Elsewhere the package compiles, and Open returns an
// error, so that what imports it needs no build tags.
package bed
