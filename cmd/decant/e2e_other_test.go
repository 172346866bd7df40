//go:build !linux

package main

import "testing"

func users(t *testing.T, bin string) []user {
	return []user{{name: "own", bin: bin, home: t.TempDir()}}
}

func openPath(*testing.T, string) {}
