//go:build !unix

package bed

import (
	"errors"
	"os"
)

// tryLock is never reached, since Open refuses this system.
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
