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
		if got = Shown(got); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestBroken holds that lines are broken between words, and that colours take no room.
func TestBroken(t *testing.T) {
	for _, tc := range [][3]string{
		{"short", "  ", "short"},
		{"0123456789 abcdefghi xyz", "  ", "0123456789 abcdefghi\n  xyz"},
		{"a  b", "", "a  b"},
		{Paint(true).Red("0123456789") + " 012345678", "  ", Paint(true).Red("0123456789") + " 012345678"},
		{"averyveryverylongwordindeed and more", "  ", "averyveryverylongwordindeed\n  and more"},
	} {
		if got := Broken(tc[0], tc[1], 20); got != tc[2] {
			t.Errorf("%q: %q, want %q", tc[0], got, tc[2])
		}
	}
}

// TestShell holds that a command line is broken so that a shell takes it as one.
func TestShell(t *testing.T) {
	command := `faultctl run reset --to :5432 -- sh -c 'echo "a b"; sleep 1' x\ y`
	want := "  faultctl run reset \\\n    --to :5432 -- sh \\\n    -c \\\n    'echo \"a b\"; sleep 1' \\\n    x\\ y"
	if got := Shell(command, "  ", 22); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := Shell("a b", "  ", 22); got != "  a b" {
		t.Errorf("%q", got)
	}
}
