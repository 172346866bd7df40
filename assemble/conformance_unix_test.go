//go:build unix

package assemble_test

import "golang.org/x/sys/unix"

func makeFifo(name string) error { return unix.Mkfifo(name, 0o644) }
