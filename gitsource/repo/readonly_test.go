package repo_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/headway-sh/headway/gitsource/repo"
)

// TestReadOnly: by status over https, and by what the forges say over ssh.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	says := func(words string) error { return fmt.Errorf("push: %w", fmt.Errorf("the remote says %q", words)) }
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"403":             {fmt.Errorf("x: %w", transport.ErrAuthorizationFailed), true},
		"401":             {fmt.Errorf("x: %w", transport.ErrAuthenticationRequired), true},
		"GitHub":          {says("ERROR: The key you are authenticating with has been marked as read only."), true},
		"GitLab":          {says("remote: You are not allowed to push code to this project."), true},
		"Gitea":           {says("Gitea: Unauthorized\nKey: 1:x is not authorized to write: read-only"), true},
		"a file system":   {says("remote: fatal: cannot create ref: Permission denied"), true},
		"a hook":          {says("pre-receive hook declined"), false},
		"nothing":         {nil, false},
		"away":            {context.DeadlineExceeded, false},
		"words elsewhere": {errors.New("open /read-only/permission: no such file"), false},
	} {
		if got := repo.ReadOnly(c.err); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
