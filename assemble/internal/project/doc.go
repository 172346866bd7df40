// Package project finds out how a front-end project is built: its framework,
// package manager, node version and workspace, what to run, and where the
// finished site will be.
//
// Detect reads package.json, lockfiles and configuration files, as text and
// never past a named bound; it executes nothing, contacts nobody, and follows
// no link out of the project. Each choice says what it came from, in
// Project.Sources, and every one can be overridden. Equal projects give equal
// results, wherever they lie.
//
// Configuration that is a program can say more than text shows. So the output
// is not believed but looked up: FindOutput runs after the build, and takes a
// directory only if the build wrote a page into it. What needs a server of its
// own is refused with a ServerError that says which setting makes it static.
//
// The package does not judge dependencies or scripts, check that lockfile and
// package.json agree, or know any registry: the package manager does that,
// inside the sandbox.
package project
