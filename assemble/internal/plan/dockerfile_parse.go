package plan

import "errors"

// Dockerfile is a parsed Dockerfile. It does not change and is safe for
// concurrent use.
type Dockerfile struct {
	Name string
}

// ParseDockerfile reads a whole Dockerfile; name is for messages. The error is a
// *DockerfileError with all faults of the file at once.
func ParseDockerfile(name string, src []byte) (*Dockerfile, error) {
	return nil, errors.ErrUnsupported
}

// Warnings are those of the file as such, by line; Resolve and Evaluate return
// further ones.
func (d *Dockerfile) Warnings() []Warning { return nil }

// Target finds a stage by its name, in any case, or by its number. "" is the last
// one. The error is a *TargetError.
func (d *Dockerfile) Target(name string) (int, error) { return 0, errors.ErrUnsupported }
