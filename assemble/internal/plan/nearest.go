package plan

import "strings"

// nearest returns the candidate that word is a likely misspelling of, or "".
// Case does not matter.
func nearest(word string, candidates []string) string {
	const far, long = 3, 64
	best, distance := "", far
	if len(word) > long {
		return ""
	}
	for _, c := range candidates {
		if len(c) > long || strings.EqualFold(c, word) {
			continue
		}
		// A name of two letters is near to any other of two.
		if d := editDistance(strings.ToLower(word), strings.ToLower(c)); d < distance &&
			d < max(len(word), len(c)) {
			best, distance = c, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, delete or replace to make b of a.
func editDistance(a, b string) int {
	last, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last, row = row, last
		row[0] = i + 1
		for j := range len(b) {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, last[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
