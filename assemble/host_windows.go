package assemble

import "os/exec"

// endTogether has nothing to do: cmd itself is ended with the context.
func endTogether(*exec.Cmd) {}

// endGroup cannot find what the command left.
func endGroup(*exec.Cmd) {}
