package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

var commitID = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// resolveCommit gives the full id of what a person calls a commit. In a git
// repository anything goes that git knows (HEAD, main~2, v1.0); elsewhere an
// id, which may be shortened when one of the known commits begins with it.
func resolveCommit(ctx context.Context, name string, known []string) (string, error) {
	// One that the cluster knows needs no repository.
	if commitID.MatchString(name) {
		for _, k := range known {
			if strings.HasPrefix(k, name) {
				return k, nil
			}
		}
	}
	id, err := gitOutput(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if err == nil {
		return id, nil
	}
	if len(name) == 40 && commitID.MatchString(name) {
		return name, nil
	}
	return "", fmt.Errorf("%q is no commit here: run this in the repository, or give the full id", name)
}

// descends tells by the repository of the current directory whether a commit
// has another one among its ancestors; unknown commits have not.
func descends(ctx context.Context) func(commit, of string) bool {
	known := map[[2]string]bool{}
	return func(commit, of string) bool {
		key := [2]string{commit, of}
		answer, ok := known[key]
		if !ok {
			_, err := gitOutput(ctx, "merge-base", "--is-ancestor", of, commit)
			answer = err == nil
			// A commit that is not here yet may be fetched meanwhile.
			var exit *exec.ExitError
			if answer || errors.As(err, &exit) && exit.ExitCode() == 1 {
				known[key] = answer
			}
		}
		return answer
	}
}

func gitOutput(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	return string(bytes.TrimSpace(out)), err
}
