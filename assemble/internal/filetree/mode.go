package filetree

import (
	"io/fs"
	"strconv"

	mode "github.com/tonistiigi/dchapes-mode"
)

const (
	permBits = 0o777
	modeBits = 0o7777
)

// A chmod is what --chmod asks for. The zero value changes nothing.
type chmod struct {
	octal    uint32
	absolute bool
	symbolic *mode.Set
}

func parseChmod(s string) (chmod, error) {
	if s == "" {
		return chmod{}, nil
	}
	if n, err := strconv.ParseUint(s, 8, 32); err == nil {
		if n > modeBits {
			return chmod{}, &ModeError{s}
		}
		return chmod{octal: uint32(n), absolute: true}, nil
	}
	set, err := mode.ParseWithUmask(s, 0)
	if err != nil {
		return chmod{}, &ModeError{s}
	}
	return chmod{symbolic: &set}, nil
}

// apply changes the mode of a file or directory.
func (c chmod) apply(bits uint32, dir bool) uint32 {
	switch {
	case c.absolute:
		return c.octal
	case c.symbolic != nil:
		return fromFileMode(c.symbolic.Apply(toFileMode(bits, dir)))
	}
	return bits
}

// parent is the mode of the directories that are made on the way to the
// destination: an octal mode is theirs, too, as BuildKit has it.
func (c chmod) parent() uint32 {
	if c.absolute {
		return c.octal & permBits
	}
	return impliedMode
}

func toFileMode(bits uint32, dir bool) fs.FileMode {
	m := fs.FileMode(bits & permBits)
	for bit, flag := range setBits() {
		if bits&bit != 0 {
			m |= flag
		}
	}
	if dir {
		m |= fs.ModeDir
	}
	return m
}

func fromFileMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for bit, flag := range setBits() {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// setBits yields what chmod(2) and package fs have for the bits above the
// permissions.
func setBits() func(yield func(uint32, fs.FileMode) bool) {
	return func(yield func(uint32, fs.FileMode) bool) {
		_ = yield(0o4000, fs.ModeSetuid) && yield(0o2000, fs.ModeSetgid) &&
			yield(0o1000, fs.ModeSticky)
	}
}
