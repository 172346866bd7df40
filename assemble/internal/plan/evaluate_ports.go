package plan

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// maxPorts bounds one EXPOSE: all ports of two protocols.
const maxPorts = 2 << 16

// evalExpose notes ports. A word can expand to several.
func (e *evaluation) evalExpose(n *parser.Node, words []string) (string, error) {
	var ports []string
	for _, word := range words {
		x, err := expand(word, e.g.file.escape, e.env)
		if err != nil {
			return "", err
		}
		for _, text := range x.words {
			spec, err := parsePort(text)
			if err != nil {
				return "", err
			}
			e.lintPort(n, spec)
			if len(ports)+spec.last-spec.first >= maxPorts {
				return "", fmt.Errorf("it has more than %d ports", maxPorts)
			}
			for port := spec.first; port <= spec.last; port++ {
				ports = append(ports, strconv.Itoa(port)+"/"+strings.ToLower(spec.protocol))
			}
		}
	}
	if e.state.Config.ExposedPorts == nil {
		e.state.Config.ExposedPorts = map[string]struct{}{}
	}
	for _, port := range ports {
		e.state.Config.ExposedPorts[port] = struct{}{}
	}
	return fmt.Sprintf("EXPOSE %v", ports), nil
}

func (e *evaluation) lintPort(n *parser.Node, p portSpec) {
	if p.protocol != strings.ToLower(p.protocol) {
		e.lint.rules.Run(&linter.RuleExposeProtoCasing, n.Location(),
			linter.RuleExposeProtoCasing.Format(p.text))
	}
	if p.mapped {
		e.lint.rules.Run(&linter.RuleExposeInvalidFormat, n.Location(),
			linter.RuleExposeInvalidFormat.Format(p.text))
	}
}

// portSpec is a word of EXPOSE.
type portSpec struct {
	text        string
	first, last int
	protocol    string // as it is written
	// mapped is set for the form of docker run, which EXPOSE reads, but for the
	// container's port ignores.
	mapped bool
}

// parsePort reads [[IP:]HOST:]PORT[-PORT][/PROTOCOL].
func parsePort(text string) (portSpec, error) {
	invalid := func(what string) (portSpec, error) {
		return portSpec{}, fmt.Errorf("%s: %s", clip(text), what)
	}
	p := portSpec{text: text, protocol: "tcp"}
	rest := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		rest = text[i+1:]
		p.mapped = text != ":"+rest && text != "::"+rest
		if what := checkMapping(text[:i]); what != "" {
			return invalid(what)
		}
	}
	numbers, protocol, _ := strings.Cut(rest, "/")
	switch strings.ToLower(protocol) {
	case "":
	case "tcp", "udp", "sctp":
		p.protocol = protocol
	default:
		return invalid("the protocol is tcp, udp or sctp")
	}
	var ok bool
	if p.first, p.last, ok = portRange(numbers); !ok {
		return invalid("it is no port from 0 to 65535, or range of ports")
	}
	if host := text[:max(0, len(text)-len(rest)-1)]; host != "" && p.first != p.last {
		host = host[strings.LastIndexByte(host, ':')+1:]
		if a, b, ok := portRange(host); host != "" && (!ok || b-a != p.last-p.first) {
			return invalid("the ranges are not of one length")
		}
	}
	return p, nil
}

// checkMapping checks what is before the container's port: [IP:]HOST.
func checkMapping(s string) (wrong string) {
	ip, host := "", s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		ip, host = s[:i], s[i+1:]
	}
	ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
	if ip != "" && net.ParseIP(ip) == nil {
		return "it has no valid IP address"
	}
	if _, _, ok := portRange(host); host != "" && !ok {
		return "it has no valid port of the host"
	}
	return ""
}

func portRange(s string) (first, last int, ok bool) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return 0, 0, false
	}
	b, err := strconv.ParseUint(to, 10, 16)
	if err != nil || b < a {
		return 0, 0, false
	}
	return int(a), int(b), true
}
