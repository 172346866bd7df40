package main

import (
	"bytes"
	"regexp"
)

// What a build step prints is not to be trusted with the user's terminal: it
// could write to the clipboard, set titles, or overwrite what decant said.

// controls matches escape sequences and control characters: CSI, OSC and the
// like with their arguments, and what is left of C0 and C1 but tab and newline.
var controls = regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]` +
	`|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?` +
	`|\x1b[ -/]*[0-~]?` +
	`|[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}]`)

// colour matches the one sequence that is harmless.
var colour = regexp.MustCompile(`^\x1b\[[0-9;]*m$`)

// harmless removes from text what a terminal would act on, but for colours. A
// sequence that is cut at the end of text loses its effect too.
func harmless(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	return controls.ReplaceAllFunc(text, func(sequence []byte) []byte {
		if colour.Match(sequence) {
			return sequence
		}
		return nil
	})
}
