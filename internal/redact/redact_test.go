package redact

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// rules are the examples of docs/SAFETY.md: what is left out, and what stays.
func rules(t *testing.T) (changed [][2]string, same []string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/SAFETY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n## Secrets\n")
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		code := func(s string) string { return strings.Trim(s, "`| ") }
		switch {
		case len(cells) == 3 && strings.HasPrefix(cells[1], "`"):
			changed = append(changed, [2]string{code(cells[1]), code(cells[2])})
		case len(cells) == 1 && strings.HasPrefix(line, "| `"):
			same = append(same, code(cells[0]))
		}
	}
	if len(changed) < 12 || len(same) < 4 {
		t.Fatalf("examples %q, %q", changed, same)
	}
	return changed, same
}

// words splits a line as a shell does, near enough for the examples.
func words(line string) (all []string) {
	quote, word := rune(0), ""
	for _, r := range line {
		switch {
		case quote == 0 && (r == '\'' || r == '"'), quote != 0 && r == quote:
			if quote == 0 {
				quote = r
			} else {
				quote = 0
			}
		case r == ' ' && quote == 0:
			all, word = append(all, word), ""
		default:
			word += string(r)
		}
	}
	return append(all, word)
}

// TestRules holds that the examples of the page are true of texts, and of command
// lines whose words they are.
func TestRules(t *testing.T) {
	changed, same := rules(t)
	program := map[string]bool{"curl": true, "mysql": true, "redis-cli": true}
	for _, c := range changed {
		first, _, _ := strings.Cut(c[0], " ")
		short := program[first] && !strings.Contains(c[0], "Authorization")
		if got := Text(c[0]); !short && got != c[1] {
			t.Errorf("%s becomes %s, the page says %s", c[0], got, c[1])
		}
		argv := words(c[0])
		if !program[first] && strings.HasPrefix(c[0], "-") {
			argv = append([]string{"cmd"}, argv...)
		} else if !program[first] {
			argv = []string{"sh", "-c", c[0]} // a command in a word
		}
		if got := strings.Join(Command(argv), " "); !strings.HasSuffix(got, strings.ReplaceAll(c[1], "'", "")) && !strings.HasSuffix(got, c[1]) {
			t.Errorf("%q becomes %s, the page says %s", argv, got, c[1])
		}
	}
	for _, s := range same {
		if got := Text(s); got != s {
			t.Errorf("%s becomes %s", s, got)
		}
		if argv := append([]string{"cmd"}, words(s)...); !slices.Equal(Command(argv), argv) {
			t.Errorf("%q becomes %q", argv, Command(argv))
		}
	}
}

// TestMore holds what the page has no room for.
func TestMore(t *testing.T) {
	for before, after := range map[string]string{
		"env DB_PASSWORD=a PATH=/bin make":      "env DB_PASSWORD=REDACTED PATH=/bin make",
		"-token abc -v":                         "-token REDACTED -v",
		"--api-key=abc --apiKey abc":            "--api-key=REDACTED --apiKey REDACTED",
		"AWS_SECRET_ACCESS_KEY=abc":             "AWS_SECRET_ACCESS_KEY=REDACTED",
		"redis://:hunter2@cache:6379/0":         "redis://:REDACTED@cache:6379/0",
		"password: hunter2":                     "password: REDACTED",
		`"password":"hun\"ter2","n":1`:          `"password":"REDACTED","n":1`,
		"X-Api-Key: abc":                        "X-Api-Key: REDACTED",
		"login failed for password=REDACTED":    "login failed for password=REDACTED",
		"GET /a?token=abc HTTP/1.1":             "GET /a?token=REDACTED HTTP/1.1",
		"10.0.0.1:5432 -> 10.0.0.2:80":          "10.0.0.1:5432 -> 10.0.0.2:80",
		"token: bearer abcdefghi":               "token: bearer REDACTED",
		"a\n-----BEGIN RSA PRIVATE KEY-----\nx": "a\nREDACTED",
		"password incorrect":                    "password incorrect",
		"secret_id=abc role_id=def":             "secret_id=REDACTED role_id=def",
		"--tokens-per-second 5":                 "--tokens-per-second 5",
	} {
		if got := Text(before); got != after {
			t.Errorf("%q becomes %q, want %q", before, got, after)
		}
		if got := Text(Text(before)); got != after {
			t.Errorf("%q becomes %q in the end", before, got)
		}
	}
	if got := Command([]string{"app", "--token", "--verbose"}); got[2] != "--verbose" {
		t.Errorf("%q", got)
	}
	if got := Command([]string{"app", "--token"}); got[1] != "--token" || In(got) {
		t.Errorf("%q", got)
	}
}

// TestFilter holds that what is known to be a secret is left out wherever it occurs,
// if it is long enough to be told from other words.
func TestFilter(t *testing.T) {
	f := For([]string{"app", "--token", "tok-12345", "--pin-password=1"}, []string{"DB_PASSWORD=correcthorse", "HOME=/home/somebody", "GH_TOKEN=short", "TOKEN="})
	if got, want := f.Text("using tok-12345, correcthorse, 1, short, /home/somebody"), "using REDACTED, REDACTED, 1, short, /home/somebody"; got != want {
		t.Errorf("%q", got)
	}
	var none *Filter
	if got := none.Text("token=abc"); got != "token=abc" {
		t.Error(got)
	}
	if argv := []string{"a", "--token=b"}; !slices.Equal(none.Command(argv), argv) || f.Command(argv)[1] != "--token=REDACTED" || argv[1] != "--token=b" {
		t.Errorf("%q", argv)
	}
}

// FuzzText holds that no text makes it fail, and that nothing is left out twice.
func FuzzText(f *testing.F) {
	f.Add("--token=abc password: x://a:b@c")
	f.Fuzz(func(t *testing.T, s string) {
		if once := Text(s); strings.Count(Text(once), Mark) < strings.Count(once, Mark)-strings.Count(s, "BEGIN") {
			t.Errorf("%q: %q, then %q", s, once, Text(once))
		}
	})
}
