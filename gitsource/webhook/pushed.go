package webhook

import (
	"cmp"
	"encoding/json"
	"strings"
	"unicode"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

const (
	// keptPushes is how many pushes a source remembers.
	keptPushes = 10
	// maxWho is the longest name of somebody who pushes, in bytes.
	maxWho = 200
)

// pushed reads who has pushed which commit off a call, as the line of the
// annotation that says so; it is empty where the call tells of nobody, or of a
// reference that the source does not follow: who pushes a commit there again
// is not who has brought it to the cluster.
//
//	GitHub         after, pusher.name and pusher.email
//	Gitea, Forgejo after, pusher.login, pusher.full_name and pusher.email
//	GitLab         after or checkout_sha, user_name, user_username and user_email
//	others         as GitHub
func pushed(source *v1alpha1.GitSource, body []byte) string {
	var push struct {
		Ref      string `json:"ref"`
		After    string `json:"after"`
		Checkout string `json:"checkout_sha"`
		Pusher   struct {
			Login    string `json:"login"`
			UserName string `json:"username"`
			FullName string `json:"full_name"`
			Name     string `json:"name"`
			Email    string `json:"email"`
		} `json:"pusher"`
		Name     string `json:"user_name"`
		UserName string `json:"user_username"`
		Email    string `json:"user_email"`
	}
	if json.Unmarshal(body, &push) != nil || push.Ref != "" && !follows(source, push.Ref) {
		return ""
	}
	// Of an annotated tag "after" is the tag itself.
	commit := cmp.Or(push.Checkout, push.After)
	if len(commit) != 40 || strings.Trim(commit, "0123456789abcdef") != "" || strings.Trim(commit, "0") == "" {
		return ""
	}
	p := &push.Pusher
	who := cmp.Or(p.FullName, p.Name, push.Name)
	if login := cmp.Or(p.Login, p.UserName, push.UserName); login != "" && login != who {
		who = strings.TrimSpace(who + " (" + login + ")")
	}
	if email := cmp.Or(p.Email, push.Email); email != "" {
		who += " <" + email + ">"
	}
	if who = oneLine(who); who == "" {
		return ""
	}
	return commit + " " + who
}

// oneLine makes a name harmless where a line is a record.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxWho {
		s = strings.ToValidUTF8(s[:maxWho], "")
	}
	return s
}

// remember puts a push before those that are known.
func remember(known, push string) string {
	lines := []string{push}
	commit, _, _ := strings.Cut(push, " ")
	for line := range strings.Lines(known) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, commit+" ") && len(lines) < keptPushes {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
