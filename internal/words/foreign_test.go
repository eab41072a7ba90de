package words

import (
	"encoding/json"
	"testing"
)

func TestForeign(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"plain ─ ü 漢 🙂 \u00a0":             "plain ─ ü 漢 🙂 \u00a0",
		"\ufffd":                           "\ufffd",
		"a\x1b]0;pwn\ab":                   `a\u001b]0;pwn\u0007b`,
		"a\r\nb\tc\x00":                    `a\u000d\nb\tc\u0000`,
		"\u009b31m":                        `\u009b31m`,
		"a\u202eb\u2066\u200b\ufeff\u2028": `a\u202eb\u2066\u200b\ufeff\u2028`,
		"\U000e0041":                       `\udb40\udc41`,
		"\xff\xc2":                         `\xff\xc2`,
		"\x7f":                             `\u007f`,
	} {
		if got := Foreign(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := Escaped("a\n\tb\r"); got != "a\n\tb\\u000d" {
		t.Errorf("%q", got)
	}
}

// Escaping JSON does not change what it says.
func TestEscapedJSON(t *testing.T) {
	const strange = "\u202e\u009b\u200b\U000e0041\x7f\x1b\n"
	text, err := json.Marshal(strange)
	if err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal([]byte(Escaped(string(text))), &back); err != nil || back != strange {
		t.Errorf("%q, %v", back, err)
	}
}
