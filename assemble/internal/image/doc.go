// Package image lays layers and configuration on a base image, and joins images
// to an index. It is pure: it reads no clock and no file, and of the base only
// what the base's accessors give; layers are never opened.
//
// # What it promises
//
// Equal input gives equal bytes. Manifest, config and digest are computed once,
// when the image is made.
//
// What is the base's stays the base's: its layers are handed out as the very
// objects the base gave (a registry client recognises its own and mounts them),
// their descriptors are kept as they are (annotations, urls, foreign media
// types), media types of manifest and config follow the base, and the config is
// edited as JSON, so that fields this package has no name for (Healthcheck,
// OnBuild, BuildKit's) survive.
//
// # What is inherited
//
// As with docker build: labels, environment and the rest of the config are, and
// annotations of the base's manifest or descriptor are not, as they describe the
// base (its name, revision, creation). Subject and artifactType are not either.
// Docker manifests have no annotations, so those asked for are left out there;
// see HasAnnotations.
//
// History is appended to a history that fits the base's layers. A base whose
// history is missing or does not fit keeps it as it is: a tool that pairs
// entries with layers would otherwise pair ours with the base's.
//
// # What it does not do
//
// It does not convert between Docker and OCI media types, merge a new base under
// an old image, or judge what is in a layer.
package image
