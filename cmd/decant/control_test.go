package main

import "testing"

func TestHarmlessKeepsTextAndColours(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext\n":            "plain\ttext\n",
		"\x1b[32mgreen\x1b[0m":     "\x1b[32mgreen\x1b[0m",
		"a\x1b]52;c;Y2xpcA==\x07b": "ab",
		"a\x1b]0;title\x1b\\b":     "ab",
		"a\x1b[2J\x1b[1;1Hb":       "ab",
		"a\x1bcb":                  "ab",
		"spin\rspun\r\n":           "spin\nspun\n",
		"bell\x07 back\x08space":   "bell backspace",
		"\xc2\x9b2J":               "2J",
		"über größe ✓":             "über größe ✓",
		"cut \x1b[3":               "cut 3",
	} {
		if got := string(harmless([]byte(text))); got != want {
			t.Errorf("harmless(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzHarmless(f *testing.F) {
	f.Add([]byte("\x1b]52;c;x\x07\x1b[31mred"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out := harmless(data)
		for i, c := range out {
			if c == 0x1b && !colour.Match(firstSequence(out[i:])) || c < ' ' && c != '\n' && c != '\t' && c != 0x1b {
				t.Fatalf("%q became %q", data, out)
			}
		}
	})
}

// firstSequence is text to the first letter.
func firstSequence(text []byte) []byte {
	for i, c := range text {
		if c >= '@' && c <= '~' && c != '[' {
			return text[:i+1]
		}
	}
	return text
}
