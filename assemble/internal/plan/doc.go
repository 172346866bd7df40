// Package plan says what a build will do, as pure data: stages of steps.
//
// Every input becomes a Plan, and one executor carries plans out. A Plan prints
// itself as a Dockerfile, so that a user can read what decant does, and leave
// with it: BuildKit turns that file into an image with the same content.
//
// A plan promises no more than what its steps say. It does not know where
// images or files come from, checks no reference, reads no file and runs
// nothing. What a Dockerfile has no way to write (a line break in a label) is
// printed as near as it gets, under a comment with the exact value.
package plan
