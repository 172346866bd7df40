package plan

// Warning is something in a Dockerfile that works, but hardly as it was meant.
type Warning struct {
	Line int
	// Rule is the name of a check of BuildKit, or of this package.
	Rule string
	Text string
}
