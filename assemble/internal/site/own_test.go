package site

import (
	"errors"
	"testing"
)

func TestCheckConfKnowsWhatGoesWhere(t *testing.T) {
	for text, want := range map[string]string{
		"server { listen 80; }": confFile,
		"map $a $b { default x; }\nserver { include listen.conf; }":           confFile,
		"events {} http { server { listen 80; } }":                            mainConfFile,
		"events {}\nhttp { include conf.d/*.conf; }":                          mainConfFile,
		"server { listen 80; # }\n location ~ \"a{2}\" { return 200 '}'; } }": confFile,
		"server { listen 80; set $x ${uri}y; }":                               confFile,
	} {
		if got, err := CheckConf("x.conf", []byte(text)); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

func TestCheckConfSaysWhereAFaultIs(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "x.conf: it has no server",
		"server { }":                           "x.conf:1: no server of it listens",
		"server {\n listen 80;\n":              "x.conf:1: the brace of \"server\" is not closed",
		"server { listen 80; }\n}":             "x.conf:2: a brace closes nothing",
		"server {\n listen 80\n}":              "x.conf:2: \"listen\" has no semicolon",
		"server { listen 80; } x":              "x.conf:1: \"x\" has no semicolon",
		"server {\n\n add_header X \"a;\n }\n": "x.conf:3: a quote is not closed",
		"a \"b\"c;":                            "x.conf:1: something follows a quote at once",
		"server { ; }":                         "x.conf:1: a semicolon ends nothing",
		"{ }":                                  "x.conf:1: a brace opens nothing",
		"http { server { listen 80; } }":       "x.conf: it has http or events, and not the other",
		"events {} http { }":                   "x.conf: it has no server that listens",
	} {
		_, err := CheckConf("x.conf", []byte(text))
		var conf *ConfError
		if !errors.As(err, &conf) || err.Error() != want || conf.Hint() == "" {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzCheckConfNeverPanics(f *testing.F) {
	f.Add("server { listen 80; \"a\\\" }")
	f.Add("${a}\\")
	f.Fuzz(func(t *testing.T, text string) {
		place, err := CheckConf("x", []byte(text))
		if (place == "") != (err != nil) {
			t.Errorf("%q: %q, %v", text, place, err)
		}
	})
}
