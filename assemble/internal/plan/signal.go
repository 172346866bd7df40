package plan

import (
	"strconv"
	"strings"
)

// signals are those of Linux, without SIG. RTMIN and RTMAX have further ones.
const signals = " ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR " +
	"QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ "

func checkSignal(s string) error {
	if !isSignal(s) {
		return wrong("it is a number, or a name as SIGTERM", "%q is no signal", s)
	}
	return nil
}

// isSignal reports whether STOPSIGNAL takes s: a number, or a name with or
// without SIG.
func isSignal(s string) bool {
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		return n > 0
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for _, real := range []string{"RTMIN+", "RTMAX-"} {
		if offset, ok := strings.CutPrefix(name, real); ok {
			n, err := strconv.ParseUint(offset, 10, 8)
			// There are 31 from RTMIN to RTMAX; the half of each has names.
			return err == nil && n > 0 && n <= 15 && offset == strconv.FormatUint(n, 10)
		}
	}
	return name == "RTMIN" || name == "RTMAX" ||
		name != "" && !strings.Contains(name, " ") && strings.Contains(signals, " "+name+" ")
}
