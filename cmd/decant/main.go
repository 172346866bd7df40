// Command decant pours a front-end into a web-server image: it takes a finished
// site, adds it to a base as one reproducible layer and pushes the result, with
// no daemon and no privileges.
//
// This package alone knows flags, environment, configuration files, standard
// output and error, and exit codes. What is done is in package assemble; who is
// talked to, in package registry. Each command has a file: an options struct,
// its flags, a check that touches nothing, and a run function.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/decant-build/decant/assemble"
)

func main() {
	assemble.MaybeInit()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// After the first signal the handler is gone, so that a second one ends a
	// clean-up that hangs.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop() // os.Exit skips deferred calls
	os.Exit(code)
}
