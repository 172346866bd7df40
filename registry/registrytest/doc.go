// Package registrytest has registries for tests.
//
// New starts one inside the test's process: it speaks the distribution
// protocol with blob mounts, upload sessions, byte ranges, tags and deletion,
// refuses a manifest whose parts it lacks, can ask for passwords or tokens,
// counts and remembers every request, and fails on demand. Debian starts the
// real thing: the docker-registry program of Debian's package.
//
// It promises nothing about speed or memory: blobs are kept in memory, whole.
// It is for tests only, and does not depend on the client it tests.
package registrytest
