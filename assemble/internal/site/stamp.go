package site

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/decant-build/decant/assemble/internal/layer"
)

// analysis stands for all that decides what Analyse finds besides its arguments.
const analysis = "decant analysis 1"

// Stamp is the same as long as Analyse would give the same, as far as the files' stats
// tell; it reads none. ok is false when they do not: then a file may have changed that
// looks as it did.
func Stamp(tree layer.Tree, webRoot string, o ServeOptions) (stamp string, ok bool) {
	h := sha256.New()
	options, err := json.Marshal(o)
	if err != nil {
		return "", false
	}
	fmt.Fprintf(h, "%s\n%q %q %s\n", analysis, tree.Dir, webRoot, options)
	for i := range tree.Entries {
		e := &tree.Entries[i]
		fmt.Fprintf(h, "%q %d %q %q %d %d %d %d", e.Name, e.Kind, e.Base, e.Source,
			e.Size, e.MTime, e.CTime, e.Inode)
		switch {
		case e.Kind != layer.File:
		case e.Source == "":
			fmt.Fprintf(h, " %x", sha256.Sum256(e.Data))
		case !vouchedFor(e, tree.ScannedAt):
			return "", false
		}
		h.Write(newline)
	}
	return hex.EncodeToString(h.Sum(nil)), true
}
