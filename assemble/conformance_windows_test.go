package assemble_test

import "errors"

func makeFifo(string) error { return errors.ErrUnsupported }
