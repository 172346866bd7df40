// Package context says what of the user's directory goes into an image, and what
// of it a build may see. Its name is docker's word, the build context; importers
// call it sitecontext where they need the standard package too.
//
// Scan lists a finished site. CopyProject copies a project to where its build may
// write, so that the user's checkout stays as it is. A BuildContext lists what a
// Dockerfile copies, and Sums tell whether the content of that is what it was.
//
// It promises a list, or a tree, that does not depend on the order in which the
// system lists names, on owners, or for a site and a project on the process's umask;
// that nothing outside the directory is looked at, whatever links and concurrent
// changes there are; and that all problems of a directory are reported at once.
//
// It does not judge names that look like secrets (package site does), and does not
// decide where a Dockerfile's files go in the image. A listing does not read the
// content of files, or notice what changes afterwards (Sums do, and package layer,
// while they read).
package context
