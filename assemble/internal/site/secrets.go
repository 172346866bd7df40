package site

import (
	"bytes"
)

// A token is the shape of a credential of a known service. Shapes are narrow: what they
// match is refused, and a word of prose must not be.
type token struct {
	prefix   string // its last byte is an underscore or a dash
	alphabet func(byte) bool
	min, max int // of what follows the prefix, min from 20; max 0 is no bound
	what     string
}

// tokens are by their prefixes. Keys that services mean to be in bundles, such as those
// of Google Maps and Firebase and the publishable ones of Stripe, are not here.
var tokens = []token{
	{"ghp_", isAlnum, 36, 0, "a token of GitHub"},
	{"gho_", isAlnum, 36, 0, "a token of GitHub"},
	{"ghu_", isAlnum, 36, 0, "a token of GitHub"},
	{"ghs_", isAlnum, 36, 0, "a token of GitHub"},
	{"ghr_", isAlnum, 36, 0, "a token of GitHub"},
	{"github_pat_", isWord, 50, 0, "a token of GitHub"},
	{"glpat-", isURLSafe, 20, 0, "a token of GitLab"},
	{"npm_", isAlnum, 36, 36, "a token of npm"},
	{"sk_live_", isAlnum, 20, 0, "a secret key of Stripe"},
	{"rk_live_", isAlnum, 20, 0, "a restricted key of Stripe"},
	{"xoxb-", isURLSafe, 24, 0, "a token of Slack"},
	{"xoxp-", isURLSafe, 24, 0, "a token of Slack"},
	{"sk-ant-", isURLSafe, 32, 0, "a key of Anthropic"},
	{"sk-proj-", isURLSafe, 40, 0, "a key of OpenAI"},
}

func isDigit(c byte) bool   { return c >= '0' && c <= '9' }
func isLetter(c byte) bool  { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isAlnum(c byte) bool   { return isDigit(c) || isLetter(c) }
func isWord(c byte) bool    { return isAlnum(c) || c == '_' }
func isURLSafe(c byte) bool { return isWord(c) || c == '-' }
func isBase64(c byte) bool  { return isAlnum(c) || c == '+' || c == '/' || c == '=' }
func isAWS(c byte) bool     { return c >= 'A' && c <= 'Z' || c >= '2' && c <= '7' }
func isValue(c byte) bool   { return isBase64(c) || c == '_' || c == '-' || c == '.' }

// searcher goes through a window of a file. Matches that begin in [start, end) are its.
type searcher struct {
	*report
	text       []byte
	start, end int
	line       int // of text's first byte
}

// maxPerFile is how many secrets are told of one file.
const maxPerFile = 3

// run looks at each byte once. Every case is a byte that something looked for has, and
// that is not too common.
func (s *searcher) run() {
	text := s.text
	for i := s.start; i < s.end; i++ {
		switch text[i] {
		case '_':
			s.underscore(i)
		case '-':
			s.dash(i)
		case 'A':
			s.amazon(i)
		case 'S':
			s.sendGrid(i)
		case '/':
			s.address(i)
		case '(':
			s.call(i)
		case '=':
			s.sourceMap(i)
		case 'W':
			s.wasm = s.wasm || bytes.HasPrefix(text[i:], []byte("WebAssembly."))
		}
	}
}

// found adds a secret that begins at i.
func (s *searcher) found(i int, what string) {
	if len(s.secrets) < maxPerFile {
		s.secrets = append(s.secrets, Finding{Line: s.lineOf(i), What: "it holds " + what})
	}
}

func (s *searcher) lineOf(i int) int { return s.line + bytes.Count(s.text[:i], newline) }

// starts says that what begins at i is not the rest of a longer word.
func (s *searcher) starts(i int) bool { return i == 0 || !isURLSafe(s.text[i-1]) }

// underscore looks for tokens whose prefix ends at i, and for npm's configuration.
func (s *searcher) underscore(i int) {
	if !s.token(i) && bytes.HasPrefix(s.text[i:], []byte("_authToken")) {
		s.authToken(i)
	}
}

func (s *searcher) token(i int) bool {
	// Most words are shorter than what follows any prefix.
	if len(s.text) <= i+20 || !isURLSafe(s.text[i+1]) || !isURLSafe(s.text[i+20]) {
		return false
	}
	for t := range tokens {
		shape := &tokens[t]
		if !bytes.HasSuffix(s.text[:i+1], []byte(shape.prefix)) {
			continue
		}
		body := run(s.text[i+1:], shape.alphabet)
		if s.starts(i+1-len(shape.prefix)) && len(body) >= shape.min &&
			(shape.max == 0 || len(body) <= shape.max) && random(body) {
			s.found(i, shape.what)
			return true
		}
	}
	return false
}

// authToken looks at the value of npm's _authToken; one that a variable holds is none.
func (s *searcher) authToken(i int) {
	rest := bytes.TrimLeft(s.text[i+len("_authToken"):], " \t\"'")
	if len(rest) == 0 || rest[0] != '=' && rest[0] != ':' {
		return
	}
	value := run(bytes.TrimLeft(rest[1:], " \t\"'"), isValue)
	if len(value) >= 20 && random(value) {
		s.found(i, "a token of a package registry")
	}
}

// dash looks for tokens whose prefix ends at i, and for private keys.
func (s *searcher) dash(i int) {
	if s.starts(i) && bytes.HasPrefix(s.text[i:], []byte("-----BEGIN ")) {
		s.privateKey(i)
		return
	}
	s.token(i)
}

// privateKey tells a key from the words that programs for keys have in them: they are
// followed by no key. Line ends may be written as in a string.
func (s *searcher) privateKey(i int) {
	head, rest, found := bytes.Cut(s.text[i+len("-----BEGIN "):], []byte("-----"))
	if !found || len(head) > 40 || !bytes.Contains(head, []byte("PRIVATE KEY")) {
		return
	}
	for {
		short := bytes.TrimLeft(rest, " \t\r\n")
		for _, end := range []string{`\\n`, `\n`, `\\r`, `\r`} {
			short = bytes.TrimPrefix(short, []byte(end))
		}
		if len(short) == len(rest) {
			break
		}
		rest = short
	}
	encrypted := bytes.HasPrefix(rest, []byte("Proc-Type:"))
	if encrypted || len(run(rest, isBase64)) >= 40 {
		s.found(i, "a private key")
	}
}

// amazon looks for the identifier of an access key, beside which its secret often is.
func (s *searcher) amazon(i int) {
	rest := s.text[i:]
	if !bytes.HasPrefix(rest, []byte("AKIA")) && !bytes.HasPrefix(rest, []byte("ASIA")) || !s.starts(i) {
		return
	}
	body := run(rest[4:], isAWS)
	whole := len(body) == 16 && (len(rest) == 20 || !isURLSafe(rest[20]))
	if whole && random(body) && !bytes.HasSuffix(body, []byte("EXAMPLE")) {
		s.found(i, "an access key of AWS")
	}
}

func (s *searcher) sendGrid(i int) {
	rest := s.text[i:]
	if !bytes.HasPrefix(rest, []byte("SG.")) || !s.starts(i) {
		return
	}
	body := rest[3:]
	id := run(body, isURLSafe)
	if len(id) != 22 || len(body) < 23 || body[22] != '.' {
		return
	}
	if key := run(body[23:], isURLSafe); len(key) == 43 && random(key) {
		s.found(i, "a key of SendGrid")
	}
}

// address looks for addresses of this machine. Libraries use http://localhost alone to
// complete a relative address; one with a port or path is somebody's server.
func (s *searcher) address(i int) {
	if s.localhost > 0 || !bytes.HasPrefix(s.text[i:], []byte("//")) {
		return
	}
	before := s.text[:i]
	if !bytes.HasSuffix(before, []byte("http:")) && !bytes.HasSuffix(before, []byte("https:")) {
		return
	}
	rest := s.text[i+2:]
	for _, host := range []string{"localhost", "127.0.0.1"} {
		after, found := bytes.CutPrefix(rest, []byte(host))
		if found && len(after) >= 2 &&
			(after[0] == ':' && isDigit(after[1]) || after[0] == '/' && isAlnum(after[1])) {
			s.localhost = s.lineOf(i)
		}
	}
}

// call looks for what a script does to its page.
func (s *searcher) call(i int) {
	rest := s.text[i+1:]
	if i == 0 || s.text[i-1] != 't' && s.text[i-1] != 'r' ||
		len(rest) < 2 || rest[0] != '"' && rest[0] != '\'' && rest[0] != '`' {
		return
	}
	argument, _, closed := bytes.Cut(rest[1:min(len(rest), 1024)], rest[:1])
	switch before := s.text[:i]; {
	case !closed:
	case bytes.HasSuffix(before, []byte("createElement")):
		s.makesStyles = s.makesStyles || string(argument) == "style"
	case bytes.HasSuffix(before, []byte("serviceWorker.register")) && len(s.workers) < maxPerFile:
		s.workers = append(s.workers, string(argument))
	}
}

func (s *searcher) sourceMap(i int) {
	if s.inlineMap == 0 && bytes.HasSuffix(s.text[:i], []byte("sourceMappingURL")) &&
		bytes.HasPrefix(s.text[i:], []byte("=data:")) {
		s.inlineMap = s.lineOf(i)
	}
}

// run is the longest beginning of text in an alphabet.
func run(text []byte, alphabet func(byte) bool) []byte {
	for i, c := range text {
		if !alphabet(c) {
			return text[:i]
		}
	}
	return text
}

// random tells what a machine made from a placeholder: that has no digits or no
// letters, or the same character over and over.
func random(body []byte) bool {
	digits, letters, same := 0, 0, 1
	for i, c := range body {
		if isDigit(c) {
			digits++
		} else if isLetter(c) {
			letters++
		}
		if i > 0 && c == body[i-1] {
			same++
		} else {
			same = 1
		}
		if same >= 6 {
			return false
		}
	}
	return digits > 0 && letters > 0
}
