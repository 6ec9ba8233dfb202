package forge

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
)

// dialect is what differs from forge to forge.
type dialect struct {
	// root is what follows the forge's address in the address of its API.
	root func(base *url.URL) string
	// repository is the path of a repository below root.
	repository func(name string) string
	// authorize puts the token into a request.
	authorize func(h http.Header, token string)
	// status gives the path of a commit's statuses, below the repository, and
	// what to send there.
	status func(s Status) (path string, body any)
	// comments is the path of a pull request's comments, and comment that of one
	// of them; edit is the method that changes it.
	comments func(number int) string
	comment  func(number int, id int64) string
	edit     string
	// page is the web page of a file on a branch, below the repository's own.
	page func(branch, file string) string
	// done tells whether a refusal says that the status is there already.
	done func(status int, message string) bool
}

var dialects = map[v1alpha1.ForgeType]*dialect{
	v1alpha1.ForgeGitHub: {
		root: func(base *url.URL) string {
			if base.Host == "github.com" {
				return "https://api.github.com"
			}
			return base.String() + "/api/v3"
		},
		repository: func(name string) string { return "/repos/" + escaped(name) },
		authorize: func(h http.Header, token string) {
			h.Set("Authorization", "Bearer "+token)
			h.Set("Accept", "application/vnd.github+json")
			h.Set("X-GitHub-Api-Version", "2022-11-28")
		},
		status:   githubStatus(140),
		comments: func(number int) string { return fmt.Sprintf("/issues/%d/comments", number) },
		comment:  func(_ int, id int64) string { return fmt.Sprintf("/issues/comments/%d", id) },
		edit:     http.MethodPatch,
		page:     func(branch, file string) string { return "/blob/" + escaped(branch) + "/" + escaped(file) },
		done:     func(int, string) bool { return false },
	},
	v1alpha1.ForgeGitea: {
		root:       func(base *url.URL) string { return base.String() + "/api/v1" },
		repository: func(name string) string { return "/repos/" + escaped(name) },
		authorize:  func(h http.Header, token string) { h.Set("Authorization", "token "+token) },
		status:     githubStatus(255),
		comments:   func(number int) string { return fmt.Sprintf("/issues/%d/comments", number) },
		comment:    func(_ int, id int64) string { return fmt.Sprintf("/issues/comments/%d", id) },
		edit:       http.MethodPatch,
		page:       func(branch, file string) string { return "/src/branch/" + escaped(branch) + "/" + escaped(file) },
		done:       func(int, string) bool { return false },
	},
	v1alpha1.ForgeGitLab: {
		root:       func(base *url.URL) string { return base.String() + "/api/v4" },
		repository: func(name string) string { return "/projects/" + url.PathEscape(name) },
		authorize:  func(h http.Header, token string) { h.Set("PRIVATE-TOKEN", token) },
		status:     gitlabStatus,
		comments:   func(number int) string { return fmt.Sprintf("/merge_requests/%d/notes", number) },
		comment:    func(number int, id int64) string { return fmt.Sprintf("/merge_requests/%d/notes/%d", number, id) },
		edit:       http.MethodPut,
		page:       func(branch, file string) string { return "/-/blob/" + escaped(branch) + "/" + escaped(file) },
		// GitLab knows a status by its state, and refuses to have it once more.
		done: func(status int, message string) bool {
			return status == http.StatusBadRequest && strings.Contains(message, "Cannot transition status")
		},
	},
}

// githubStatus is as GitHub wants a status, and Gitea after it.
func githubStatus(longest int) func(Status) (string, any) {
	words := map[State]string{Pending: "pending", Success: "success", Failure: "failure", Gone: "error"}
	return func(s Status) (string, any) {
		return "/statuses/" + s.Commit, map[string]string{
			"state": words[s.State], "context": s.Context, "description": cut(s.Description, longest), "target_url": s.TargetURL,
		}
	}
}

func gitlabStatus(s Status) (string, any) {
	words := map[State]string{Pending: "running", Success: "success", Failure: "failed", Gone: "canceled"}
	body := map[string]string{"state": words[s.State], "name": s.Context, "description": cut(s.Description, 255)}
	if s.TargetURL != "" {
		body["target_url"] = s.TargetURL
	}
	return "/statuses/" + s.Commit, body
}

// cut shortens to a number of bytes, which is never more than characters.
func cut(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest-3], "") + "..."
}

// escaped escapes the parts of a path.
func escaped(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
