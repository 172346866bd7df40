package output

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// imageName is a name that an image is given.
type imageName struct {
	text string // as the user wrote it, with a tag: "my-app:latest"
	tag  string // "latest"
	full string // as docker and containerd know it: "docker.io/library/my-app:latest"
}

// parseNames reads names; what has no tag gets "latest". Duplicates are dropped.
func parseNames(names []string) ([]imageName, error) {
	var list []imageName
	seen := map[string]bool{}
	for _, text := range names {
		n, err := parseName(text)
		if err != nil {
			return nil, err
		}
		if !seen[n.text] {
			seen[n.text] = true
			list = append(list, n)
		}
	}
	return list, nil
}

func parseName(text string) (imageName, error) {
	tag, err := name.NewTag(text)
	if err != nil {
		return imageName{}, fmt.Errorf("naming the image %q: %w", text, err)
	}
	n := imageName{text: text, tag: tag.TagStr()}
	if strings.LastIndexByte(text, ':') <= strings.LastIndexByte(text, '/') {
		n.text += ":" + n.tag
	}
	// The library calls Docker Hub by the name of its API's host.
	n.full = tag.Name()
	if rest, ok := strings.CutPrefix(n.full, name.DefaultRegistry+"/"); ok {
		n.full = "docker.io/" + rest
	}
	return n, nil
}
