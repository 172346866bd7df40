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
//
// # Dockerfiles
//
// A user's Dockerfile says more than a Plan can, and becomes steps on a way of
// its own. ParseDockerfile reads it, with BuildKit's parser. Resolve expands
// FROM for a platform, and finds the stages that a target needs. Evaluate takes
// the configuration of a stage's base and returns the stage's instructions as
// Exec, fully expanded, and the configuration of the result. Print writes the
// stages that are needed.
//
// The semantics are those of BuildKit, of docker/dockerfile:1. What is not
// supported is refused by line: RUN --device and --security=insecure, sources
// that are git repositories, bases for Windows, and the syntax of anybody else.
// It differs from BuildKit only where that fails, or is silent about a mistake:
//
//   - --mount=from= takes the number of a stage, as COPY --from does.
//   - FROM finds a stage by its name in any case.
//   - References to stages are checked in all stages, not the needed ones alone,
//     and an ONBUILD in the stage that has it.
//   - The name of a variable cannot be empty.
//
// All faults of a step of this way are told at once, and as early as it can be:
// what depends on no variable is checked when it is parsed. Sizes are bounded,
// so that neither a file nor the configuration of a base can fill the memory;
// neither is trusted.
package plan
