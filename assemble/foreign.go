package assemble

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/decant-build/decant/assemble/internal/image"
	"github.com/decant-build/decant/assemble/internal/plan"
)

// checkRunnable reports every RUN whose platform this machine cannot execute.
func checkRunnable(variants []*variant) error {
	var faults []error
	told := map[string]bool{}
	for _, v := range variants {
		for _, i := range slices.Sorted(maps.Keys(v.stages)) {
			s := v.stages[i]
			for _, st := range s.steps {
				if _, ok := st.exec.(plan.RunExec); !ok || executable(s.executesOn()) {
					continue
				}
				err := st.fault(&ForeignError{Platform: platformText(s.executesOn()), From: s.ground().plan.Text})
				if !told[err.Error()] {
					told[err.Error()] = true
					faults = append(faults, err)
				}
			}
		}
	}
	return errors.Join(faults...)
}

// ForeignError is a RUN for a platform that this machine cannot execute.
type ForeignError struct {
	Platform string
	From     string // the FROM of its stage
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("this machine cannot execute %s", e.Platform)
}

// Hint says how to do without, and what makes it possible.
func (e *ForeignError) Hint() string {
	var words []string
	for _, word := range strings.Fields(e.From)[1:] {
		if !strings.HasPrefix(word, "--platform") {
			words = append(words, word)
		}
	}
	rest := strings.Join(words, " ")
	return fmt.Sprintf("if what the stage builds is the same for all platforms, write FROM --platform=$BUILDPLATFORM %s; "+
		"or install QEMU's user emulation for binfmt_misc", rest)
}

// executable reports whether this machine runs programs of a platform, natively or
// through an interpreter that the kernel knows.
func executable(p v1.Platform) bool {
	if _, ok := image.Match([]v1.Platform{p}, hostPlatform()); ok {
		return true
	}
	return emulated(p)
}

// elfMachines are the machines of ELF headers, by GOARCH.
// https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
var elfMachines = map[string]string{
	"386": "0300", "arm": "2800", "amd64": "3e00", "arm64": "b700", "riscv64": "f300", "s390x": "0016", "ppc64le": "1500",
}

// magicMachine is where an ELF header, in hexadecimal, has its machine.
const magicMachine = 18 * 2

// emulated looks for an enabled binfmt_misc entry that is for ELF programs of the
// platform, and whose interpreter the kernel has open, as the root of a sandbox does
// not have it.
// https://docs.kernel.org/admin-guide/binfmt-misc.html
func emulated(p v1.Platform) bool {
	machine, ok := elfMachines[p.Architecture]
	if !ok {
		return false
	}
	entries, err := filepath.Glob("/proc/sys/fs/binfmt_misc/*")
	if err != nil {
		return false
	}
	for _, name := range entries {
		if interprets(name, machine) {
			return true
		}
	}
	return false
}

func interprets(entry, machine string) bool {
	f, err := os.Open(entry)
	if err != nil {
		return false
	}
	defer f.Close()
	enabled, fixed, fits := false, false, false
	lines := bufio.NewScanner(io.LimitReader(f, 1<<16))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		switch key {
		case "enabled":
			enabled = true
		case "flags:":
			fixed = strings.Contains(value, "F")
		case "magic":
			fits = strings.HasPrefix(value, "7f454c46") && len(value) >= magicMachine+4 &&
				value[magicMachine:magicMachine+4] == machine
		}
	}
	return enabled && fixed && fits
}
