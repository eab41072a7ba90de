// Package redact leaves secrets out of command lines and of what commands print, by
// the rules that docs/SAFETY.md lists. It errs on the side of leaving too much out,
// and cannot know a secret that looks like any other word.
package redact

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Mark stands in place of each secret. A shell takes it as it is.
const Mark = "REDACTED"

// Command is a command line without its secrets.
func Command(argv []string) []string {
	out, _ := command(argv)
	return out
}

// command is Command, and lists the secrets.
func command(argv []string) (out, secrets []string) {
	out = slices.Clone(argv)
	program := ""
	for i := 0; i < len(out); i++ {
		word := out[i]
		if i == 0 || program == "" {
			program = path.Base(word)
		}
		if next, ok := valueBehind(program, word); ok && i+1 < len(out) && !strings.HasPrefix(out[i+1], "-") {
			i++
			keep, secret := next(out[i])
			out[i] = keep + hide(secret, &secrets)
			continue
		}
		if attached, value, ok := attachedValue(program, word); ok {
			out[i] = attached + hide(value, &secrets)
			continue
		}
		out[i] = text(word, &secrets)
	}
	return out, secrets
}

// hide is the mark in place of a secret, which is added to those known.
func hide(secret string, secrets *[]string) string {
	if secret == "" || secret == Mark {
		return secret
	}
	*secrets = append(*secrets, secret)
	return Mark
}

// whole takes a word as a secret.
func whole(word string) (keep, secret string) { return "", word }

// afterColon takes what follows the colon of user:password as a secret.
func afterColon(word string) (keep, secret string) {
	user, pass, ok := strings.Cut(word, ":")
	if !ok {
		return word, ""
	}
	return user + ":", pass
}

// valueBehind reports whether the word after this one has a secret, and where.
func valueBehind(program, word string) (func(string) (keep, secret string), bool) {
	name := strings.TrimLeft(word, "-")
	switch {
	case !strings.HasPrefix(word, "-") || strings.Contains(word, "="):
		return nil, false
	case strings.HasPrefix(word, "--") && secretName(name), strings.HasPrefix(word, "-") && len(name) > 1 && secretName(name):
		return whole, true
	case program == "curl" && slices.Contains([]string{"-u", "--user", "-U", "--proxy-user"}, word), program == "ab" && (word == "-A" || word == "-P"):
		return afterColon, true
	case program == "redis-cli" && word == "-a", program == "sshpass" && word == "-p", program == "mongosh" && word == "-p", program == "mongo" && word == "-p":
		return whole, true
	}
	return nil, false
}

// attachedValue takes a word apart whose end is a secret without a sign between.
func attachedValue(program, word string) (attached, value string, ok bool) {
	switch program {
	case "mysql", "mariadb", "mysqldump", "mysqladmin", "mariadb-dump", "mariadb-admin", "sshpass":
		if rest, is := strings.CutPrefix(word, "-p"); is && rest != "" {
			return "-p", rest, true
		}
	case "curl":
		if rest, is := strings.CutPrefix(word, "-u"); is && strings.Contains(rest, ":") {
			user, pass, _ := strings.Cut(rest, ":")
			return "-u" + user + ":", pass, true
		}
	}
	return "", "", false
}

// secretName reports whether something of that name holds a secret. Case does not
// matter, nor how its parts are divided.
func secretName(name string) bool {
	name = strings.ToLower(strings.NewReplacer("-", "_", ".", "_").Replace(camel.ReplaceAllString(name, "${1}_${2}")))
	last := name[strings.LastIndexByte(name, '_')+1:]
	if slices.Contains([]string{"file", "path", "dir", "name", "type", "length", "len", "size", "ttl", "timeout", "policy", "prompt", "stdin", "env", "url", "uri", "count", "bucket", "expiry", "id", "arn", "provider", "required", "enabled"}, last) &&
		!strings.HasSuffix(name, "secret_id") {
		return false
	}
	for _, part := range []string{"password", "passwd", "passphrase", "secret", "credential"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	squeezed := strings.ReplaceAll(name, "_", "")
	for _, end := range []string{"token", "pwd", "apikey", "accesskey", "privatekey", "signingkey", "encryptionkey", "authkey", "jwt", "bearer"} {
		if strings.HasSuffix(squeezed, end) {
			return true
		}
	}
	return slices.Contains([]string{"pass", "auth", "authorization", "cookie"}, last)
}

// camel is where a word of camelCase ends.
var camel = regexp.MustCompile(`([a-z0-9])([A-Z])`)

const quoted = `"(?:[^"\\]|\\.)*"|'[^']*'`

var (
	// name=value, name: value, "name": "value". What is inside of the name is decided
	// by secretName.
	assignment = regexp.MustCompile(`([A-Za-z][A-Za-z0-9_.-]*)(["']?\s?(?:=|:\s?)\s*)(` + quoted + `|[^\s"'&;,)}\]]+)`)
	// A header has its value up to the end of the line or of the quotes around it.
	header = regexp.MustCompile(`(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-[a-z-]*(?:token|key|secret)|x-auth[a-z-]*)(["']?\s*:\s*["']?)([^\r\n"']+)`)
	// scheme://user:password@host
	inURL = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"']*:)([^\s/@"']+)(@)`)
	// --name value, in a text
	option = regexp.MustCompile(`(^|\s)(--?)([A-Za-z][A-Za-z0-9_.-]+)(\s+)(` + quoted + `|[^\s"'-][^\s"']*)`)
	// Tokens that say themselves what they are.
	tokens = []*regexp.Regexp{
		regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`),
		regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?`),
		regexp.MustCompile(`\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bsk-[A-Za-z0-9_-]{20,}|\bnpm_[A-Za-z0-9]{30,}|\bAIza[A-Za-z0-9_-]{30,}`),
		regexp.MustCompile(`(?i)\b(?:bearer|basic) [A-Za-z0-9+/_.~-]{8,}=*`),
	}
)

// Text is a text without the secrets that can be told by what stands before them, or
// by their own form.
func Text(s string) string { return text(s, new([]string)) }

func text(s string, secrets *[]string) string {
	for _, t := range tokens {
		s = t.ReplaceAllStringFunc(s, func(found string) string {
			if word, value, ok := strings.Cut(found, " "); ok && (strings.EqualFold(word, "bearer") || strings.EqualFold(word, "basic")) {
				return word + " " + hide(value, secrets)
			}
			return hide(found, secrets)
		})
	}
	s = replace(header, s, func(m []string) string {
		scheme, value, ok := strings.Cut(m[3], " ")
		if !ok || strings.Contains(scheme, "=") {
			scheme, value = "", m[3]
		} else {
			scheme += " "
		}
		return m[1] + m[2] + scheme + hide(value, secrets)
	})
	s = replace(inURL, s, func(m []string) string { return m[1] + hide(m[2], secrets) + m[3] })
	s = assignments(s, secrets)
	return replace(option, s, func(m []string) string {
		if !secretName(m[3]) || m[2] == "-" && len(m[3]) < 3 || strings.HasPrefix(m[5], Mark) {
			return m[0]
		}
		return m[1] + m[2] + m[3] + m[4] + unquoted(m[5], secrets)
	})
}

// assignments hides the values of names that hold secrets. What another name is set
// to may be such an assignment itself.
func assignments(s string, secrets *[]string) string {
	var out strings.Builder
	for {
		at := assignment.FindStringSubmatchIndex(s)
		if at == nil {
			return out.String() + s
		}
		name, value := s[at[2]:at[3]], s[at[6]:at[7]]
		if !secretName(name) || strings.HasPrefix(value, Mark) || isScheme(value) {
			out.WriteString(s[:at[5]])
			s = s[at[5]:]
			continue
		}
		out.WriteString(s[:at[6]] + unquoted(value, secrets))
		s = s[at[7]:]
	}
}

// isScheme reports whether a word only names how somebody is authorized, which the
// rule for headers has dealt with.
func isScheme(word string) bool {
	return slices.Contains([]string{"basic", "bearer", "digest", "negotiate"}, strings.ToLower(word))
}

// unquoted hides what is within the quotes of a value, if it has any.
func unquoted(value string, secrets *[]string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') {
		return value[:1] + hide(value[1:n-1], secrets) + value[n-1:]
	}
	return hide(value, secrets)
}

// replace is s with each match of re replaced by what do makes of its groups.
func replace(re *regexp.Regexp, s string, do func(m []string) string) string {
	return re.ReplaceAllStringFunc(s, func(found string) string {
		return do(re.FindStringSubmatch(found))
	})
}

// shortest is how long a known secret must be to be left out wherever it occurs. A
// shorter one would take parts out of other words.
const shortest = 8

// A Filter leaves out the secrets of one command, wherever they occur in what it
// prints. A nil Filter leaves out nothing.
type Filter struct{ known []string }

// For is the Filter for what a command prints: it knows the secrets in its command
// line, and those in variables of its environment (NAME=VALUE) whose names say so.
func For(argv, environ []string) *Filter {
	_, known := command(argv)
	for _, v := range environ {
		if name, value, _ := strings.Cut(v, "="); secretName(name) {
			known = append(known, strings.Split(value, "\n")...)
		}
	}
	known = slices.DeleteFunc(known, func(s string) bool { return len(s) < shortest || s == Mark })
	slices.SortFunc(known, func(a, b string) int { return len(b) - len(a) }) // one may be in another
	return &Filter{slices.Compact(known)}
}

// Text is a text without secrets: those that the Filter knows, and those that Text
// finds.
func (f *Filter) Text(s string) string {
	if f == nil {
		return s
	}
	for _, secret := range f.known {
		s = strings.ReplaceAll(s, secret, Mark)
	}
	return Text(s)
}

// Command is a command line without secrets. A nil Filter leaves it as it is.
func (f *Filter) Command(argv []string) []string {
	if f == nil {
		return argv
	}
	return Command(argv)
}

// In reports whether a secret was left out of a command line.
func In(argv []string) bool {
	return slices.ContainsFunc(argv, func(w string) bool { return strings.Contains(w, Mark) })
}
