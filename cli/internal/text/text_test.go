package text

import "testing"

func TestLayout(t *testing.T) {
	for got, want := range map[string]string{
		Wrap("one two three", "  ", 9):             "  one two\n  three",
		Wrap("wide-word\nb", "", 4):                "wide-word\nb",
		Hanging("ä: ", "one two", 6):               "ä: one\n   two",
		Pad("ä", 3):                                "ä  ",
		Pad("long", 3):                             "long",
		Indent("a\nb", "> "):                       "> a\n> b",
		Sentence("say it"):                         "Say it.",
		Sentence(""):                               ".",
		Fitting(5, "too long", "fits"):             "fits",
		Fitting(4, "too long", "ätoo"):             "äto",
		Paint(true).Red("a") + Paint(true).Red(""): "\x1b[31ma\x1b[0m",
		Paint(false).Red("b"):                      "b",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
