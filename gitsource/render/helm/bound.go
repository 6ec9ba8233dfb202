package helm

import "strings"

// rounds are the actions whose body may run more than once.
var rounds = map[string]bool{"range": true, "define": true, "block": true}

// bound puts a call of the function "headwayRound" at the beginning of every
// body that may run more than once, so that no template runs for ever. Lines
// stay as they are.
func bound(text string) string {
	var out strings.Builder
	for {
		begin := strings.Index(text, "{{")
		if begin < 0 {
			out.WriteString(text)
			return out.String()
		}
		end := actionEnd(text[begin:])
		if end < 0 {
			out.WriteString(text) // the parser will say so
			return out.String()
		}
		end += begin
		out.WriteString(text[:end])
		if action := text[begin:end]; rounds[word(action)] {
			out.WriteString("{{headwayRound")
			if strings.HasSuffix(action, " -}}") || strings.HasSuffix(action, "\n-}}") || strings.HasSuffix(action, "\t-}}") {
				out.WriteString(" -")
			}
			out.WriteString("}}")
		}
		text = text[end:]
	}
}

// actionEnd is the length of the action at the beginning of a text, or -1.
func actionEnd(text string) int {
	rest := strings.TrimLeft(strings.TrimPrefix(text[2:], "-"), " \t\r\n")
	if strings.HasPrefix(rest, "/*") {
		at := len(text) - len(rest)
		end := strings.Index(text[at:], "*/")
		if end < 0 {
			return -1
		}
		at += end
		closing := strings.Index(text[at:], "}}")
		if closing < 0 {
			return -1
		}
		return at + closing + 2
	}
	for i := 2; i < len(text); i++ {
		switch text[i] {
		case '"', '\'':
			for quote := text[i]; ; i++ {
				if i+1 >= len(text) || text[i+1] == '\n' {
					return -1
				}
				if text[i+1] == '\\' {
					i++
				} else if text[i+1] == quote {
					i++
					break
				}
			}
		case '`':
			end := strings.IndexByte(text[i+1:], '`')
			if end < 0 {
				return -1
			}
			i += end + 1
		case '}':
			if strings.HasPrefix(text[i:], "}}") {
				return i + 2
			}
		}
	}
	return -1
}

// word is the first word of an action.
func word(action string) string {
	inner := strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(action, "{{"), "-"), " \t\r\n")
	end := strings.IndexFunc(inner, func(r rune) bool { return r < 'a' || r > 'z' })
	return inner[:max(end, 0)]
}
